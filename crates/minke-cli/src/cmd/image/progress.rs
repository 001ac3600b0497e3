//! What load, import, pull and push report while they work: bars that are redrawn in place on a terminal, else the lines
//! that say how something ended.

use std::collections::HashMap;
use std::io::Write as _;

use minke_api::stream::ProgressMessage;
use minke_client::JsonLines;

use crate::error::Failure;
use crate::session::Session;
use crate::terminal;

/// Where it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// Standard output.
    Output,
    /// Standard error, where standard output is a container's.
    Error,
    /// Nowhere: only a failure counts.
    Nowhere,
}

/// Prints the lines that are results; bars only matter on a terminal and are left out. A failure in the stream is one.
pub async fn show(session: &Session, mut messages: JsonLines<ProgressMessage>) -> Result<(), Failure> {
    while let Some(message) = messages.next().await? {
        fail(&message)?;
        if !message.stream.is_empty() {
            session.print(&message.stream)?;
        } else if message.progress_detail.is_none() && message.id.is_empty() && !message.status.is_empty() {
            session.print(format!("{}\n", message.status))?;
        }
    }
    Ok(())
}

/// Shows all that is reported, as Docker's client does. A failure in the stream is one.
pub async fn follow(
    session: &Session,
    mut messages: JsonLines<ProgressMessage>,
    out: Out,
) -> Result<(), Failure> {
    let columns = match out {
        Out::Output => terminal::columns_of_output(),
        Out::Error => terminal::columns_of_error(),
        Out::Nowhere => None,
    };
    let mut screen = Screen { columns, rows: HashMap::new() };
    let mut notes = Vec::new();
    while let Some(message) = messages.next().await? {
        fail(&message)?;
        notes.extend(message.aux.as_ref().and_then(note));
        let text = screen.draw(&message);
        match out {
            Out::Output if !text.is_empty() => session.print(text)?,
            Out::Error => drop(std::io::stderr().lock().write_all(text.as_bytes())),
            _ => {}
        }
    }
    for note in notes.iter().filter(|_| out == Out::Output) {
        session.print(note)?;
    }
    Ok(())
}

/// What is said at the end of what a push did otherwise than it was asked.
fn note(aux: &serde_json::Value) -> Option<String> {
    let digest = |of: &str| aux[of]["digest"].as_str().unwrap_or_default().to_owned();
    aux["manifestPushedInsteadOfIndex"].as_bool().filter(|is| *is)?;
    Some(format!(
        "\nNot all platforms of the image are here: instead of the index, one manifest was pushed\n{} -> {}\n",
        digest("originalIndex"),
        digest("selectedManifest")
    ))
}

fn fail(message: &ProgressMessage) -> Result<(), Failure> {
    match (&message.error_detail, message.error.as_str()) {
        (Some(error), _) => Err(Failure::Plain(error.message.clone())),
        (None, "") => Ok(()),
        (None, error) => Err(Failure::Plain(error.to_owned())),
    }
}

/// The rows at the bottom of a terminal that are written over, one for each id.
struct Screen {
    /// The terminal's width; nothing where it is none.
    columns: Option<u32>,
    rows: HashMap<String, usize>,
}

impl Screen {
    /// The text that shows a message.
    fn draw(&mut self, message: &ProgressMessage) -> String {
        if message.aux.is_some() {
            return String::new();
        }
        let measured = message.progress_detail.as_ref().filter(|_| !message.id.is_empty());
        let Some(detail) = measured else {
            // What has no row is printed below them all, and they are left as they are.
            self.rows.clear();
            return plain(message);
        };
        let Some(columns) = self.columns else {
            let moving = !detail.render(200).is_empty();
            return if moving { String::new() } else { plain(message) };
        };
        let mut text = String::new();
        let new = self.rows.len();
        let row = *self.rows.entry(message.id.clone()).or_insert(new);
        if row == new {
            text.push('\n');
        }
        let up = self.rows.len() - row;
        text += &format!(
            "\x1b[{up}A\x1b[2K\r{}: {} {}\r\x1b[{up}B",
            message.id,
            message.status,
            detail.render(columns)
        );
        text
    }
}

fn plain(message: &ProgressMessage) -> String {
    if !message.stream.is_empty() {
        return message.stream.clone();
    }
    match message.id.as_str() {
        "" => format!("{}\n", message.status),
        id => format!("{id}: {}\n", message.status),
    }
}

#[cfg(test)]
mod tests {
    use minke_api::stream::ProgressDetail;

    use super::*;

    fn messages() -> Vec<ProgressMessage> {
        let half = ProgressDetail { current: 500, total: 1000, units: String::new() };
        vec![
            ProgressMessage { id: "latest".into(), ..ProgressMessage::status("Pulling from library/x") },
            ProgressMessage::of("aaa", "Pulling fs layer", ProgressDetail::NONE),
            ProgressMessage::of("bbb", "Pulling fs layer", ProgressDetail::NONE),
            ProgressMessage::of("aaa", "Downloading", half),
            ProgressMessage::of("aaa", "Pull complete", ProgressDetail::NONE),
            ProgressMessage::status("Digest: d"),
        ]
    }

    fn drawn(columns: Option<u32>) -> String {
        let mut screen = Screen { columns, rows: HashMap::new() };
        messages().iter().map(|message| screen.draw(message)).collect()
    }

    #[test]
    fn without_a_terminal_only_lines_that_end_something_are_shown() {
        assert_eq!(
            drawn(None),
            "latest: Pulling from library/x\naaa: Pulling fs layer\nbbb: Pulling fs layer\naaa: Pull complete\nDigest: d\n"
        );
    }

    #[test]
    fn on_a_terminal_each_id_has_a_row() {
        assert_eq!(
            drawn(Some(80)),
            "latest: Pulling from library/x\n\
             \n\x1b[1A\x1b[2K\raaa: Pulling fs layer \r\x1b[1B\
             \n\x1b[1A\x1b[2K\rbbb: Pulling fs layer \r\x1b[1B\
             \x1b[2A\x1b[2K\raaa: Downloading     500B/1kB\r\x1b[2B\
             \x1b[2A\x1b[2K\raaa: Pull complete \r\x1b[2BDigest: d\n"
        );
    }
}
