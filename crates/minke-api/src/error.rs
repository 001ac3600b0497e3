//! The body of every failed request.

use serde::{Deserialize, Serialize};

/// What the engine says when a request fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// The text for the user.
    #[serde(default)]
    pub message: String,
}
