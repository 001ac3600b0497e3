//! `logs`: prints what a container has printed, and goes on as it does.

use clap::Args;
use minke_api::container::LogsQuery;
use minke_client::frame::{FrameReader, Framing, Output};
use minke_model::Error;

use crate::attached;
use crate::cmd::parse_time;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::Session;
use crate::stdio::Sink;

/// Flags of `logs`.
#[derive(Args, Clone, Debug)]
pub struct Logs {
    /// Print the attributes that the log was given
    #[arg(long)]
    details: bool,
    /// Go on printing as the container does
    #[arg(long, short = 'f')]
    follow: bool,
    /// Only what is younger than this time, or than this long ago: 2013-01-02T13:23:37Z or 42m
    #[arg(long, value_name = "string", default_value = "")]
    since: String,
    /// Number of lines from the end
    #[arg(long, short = 'n', value_name = "string", default_value = "all")]
    tail: String,
    /// Print the time of each line
    #[arg(long, short = 't')]
    timestamps: bool,
    /// Only what is older than this time, or than this long ago
    #[arg(long, value_name = "string", default_value = "")]
    until: String,
}

impl Verb for Logs {
    const SUMMARY: &'static str = "Print what a container has printed";
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ARITY: Arity = Arity::Exactly(1);

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let client = session.client().await?;
        let query = LogsQuery {
            follow: self.follow,
            stdout: true,
            stderr: true,
            since: parse_time("since", &self.since)?,
            until: parse_time("until", &self.until)?,
            timestamps: self.timestamps,
            details: self.details,
            tail: self.tail,
        };
        let container = client.container_inspect(&arguments[0]).await?;
        let chunks = client.container_logs(&container.id, &query).await?;
        let framing = if container.config.tty { Framing::Raw } else { Framing::Multiplexed };
        let mut frames = FrameReader::new(chunks.into_reader(), Default::default(), framing);
        while let Some(output) =
            frames.next().await.map_err(|error| Error::system("the log ended early").with_source(error))?
        {
            let (sink, bytes) = match output {
                Output::Stdout(bytes) => (Sink::Stdout, bytes),
                Output::Stderr(bytes) => (Sink::Stderr, bytes),
                Output::Failed(message) => {
                    return Err(Failure::Plain(format!("error from daemon in stream: {message}")));
                }
                Output::Exit(_) | Output::Detached | Output::NotStarted(_) => continue,
            };
            if attached::write(sink, bytes).await.is_err() {
                return Ok(exit::of_signal(13));
            }
        }
        Ok(exit::SUCCESS)
    }
}
