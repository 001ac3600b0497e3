//! What load and import report while they work.

use minke_api::stream::ProgressMessage;
use minke_client::JsonLines;

use crate::error::Failure;
use crate::session::Session;

/// Prints the lines that are results; bars only matter on a terminal and are left out. A failure in the stream is one.
pub async fn show(session: &Session, mut messages: JsonLines<ProgressMessage>) -> Result<(), Failure> {
    while let Some(message) = messages.next().await? {
        if let Some(error) = message.error_detail {
            return Err(Failure::Plain(error.message));
        }
        if !message.error.is_empty() {
            return Err(Failure::Plain(message.error));
        }
        if !message.stream.is_empty() {
            session.print(&message.stream)?;
        } else if message.progress_detail.is_none() && message.id.is_empty() && !message.status.is_empty() {
            session.print(format!("{}\n", message.status))?;
        }
    }
    Ok(())
}
