//! minke's own extension of the API: what is made is started by the same request, and its streams are the connection.
//!
//! ```text
//! client                                              engine
//!   | POST /containers/create, minke-run: attach        |   (or /containers/{id}/exec)
//!   |    the body as ever; how to attach in the query   |
//!   | <---------------- 101, minke-run: {"Id": ...} --- |   made; now it is joined, then started
//!   | <=============== frames, the last one the exit == |   from the shim; a start that fails comes as a frame
//!   | <------------------------------- end of stream -- |   the engine knows of the end, or has removed it
//! ```
//! With `minke-run: detach` the answer is the usual 201, and says by [`RunAnswer::started`] that nothing is left to do. An engine
//! that doesn't know the header answers as ever, and the client goes on by the documented requests.
#![allow(missing_docs, reason = "fields carry the names and meanings of the specification")]

use serde::{Deserialize, Serialize};

use crate::omit::zero;

/// The header, of the request and of the answer.
pub const MINKE_RUN_HEADER: &str = "minke-run";

/// What the request's header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunMode {
    /// To join the streams, then start.
    Attach,
    /// To start.
    Detach,
}

impl RunMode {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
        }
    }

    /// What the header's value means, if it means anything.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Attach, Self::Detach].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// What has been made, and whether it was started: the body of a 201, the header's value of a 101.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunAnswer {
    pub id: String,
    pub warnings: Vec<String>,
    /// The start was tried; not there in the answer of an engine that knows nothing of it.
    #[serde(skip_serializing_if = "zero")]
    pub started: bool,
    /// Why it failed; empty: it did not.
    #[serde(skip_serializing_if = "zero")]
    pub start_error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_an_engine_without_the_extension_says_that_nothing_was_started() {
        let answer: RunAnswer = serde_json::from_str(r#"{"Id":"ab","Warnings":[]}"#).unwrap();
        assert!(!answer.started);
        assert_eq!(serde_json::to_string(&answer).unwrap(), r#"{"Id":"ab","Warnings":[]}"#);
    }

    #[test]
    fn modes_are_read_as_they_are_written() {
        for mode in [RunMode::Attach, RunMode::Detach] {
            assert_eq!(RunMode::parse(mode.as_str()), Some(mode));
        }
        assert_eq!(RunMode::parse("1"), None);
    }
}
