//! `create`: makes a container without starting it; the making is shared with `run`.

use std::fs;
use std::net::IpAddr;

use clap::Args;
use minke_api::container::{ContainerCreateQuery, ContainerCreateRequest};
use minke_model::Error;

use super::flags::{ContainerFlags, NOT_OFFERED};
use super::plan::{Facts, plan_create};
use super::pulling;
use crate::error::{Failure, Outcome};
use crate::exit;
use crate::grammar::{Arity, Verb};
use crate::session::{self, Session};
use crate::terminal;

/// Flags of `create`.
#[derive(Args, Clone, Debug)]
pub struct Create {
    #[command(flatten)]
    pub flags: ContainerFlags,
}

impl Verb for Create {
    const SUMMARY: &'static str = "Make a new container without starting it";
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ARITY: Arity = Arity::AtLeast(1);
    const STOPS_AT_FIRST: bool = true;
    const NOT_OFFERED: &'static [(&'static str, &'static str)] = NOT_OFFERED;

    async fn run(self, arguments: Vec<String>, session: &Session) -> Outcome {
        let request = plan(session, &self.flags, &arguments, false)?;
        let made = make(session, &self.flags, &request).await;
        let id = made.map_err(said_plainly)?;
        session.print(format!("{id}\n"))?;
        Ok(exit::SUCCESS)
    }
}

/// What the engine refuses is said without a pointer to the help, and is a plain failure, as Docker's `create` has it.
fn said_plainly(failure: Failure) -> Failure {
    match failure {
        Failure::Run { error, hint: Some(hint), .. } => Failure::Plain(format!("{error}\n{hint}")),
        Failure::Run { error, .. } => Failure::Error(error),
        other => other,
    }
}

/// A failure of a command that runs something.
pub fn refused(session: &Session, error: Error) -> Failure {
    Failure::Run { form: session.form.clone(), error, code: exit::REFUSED, hint: None }
}

/// Plans the request with what this process knows.
pub fn plan(
    session: &Session,
    flags: &ContainerFlags,
    arguments: &[String],
    detach: bool,
) -> Result<ContainerCreateRequest, Failure> {
    let directory = std::env::current_dir()
        .map(|path| path.to_string_lossy().into_owned())
        .unwrap_or_else(|_| "/".into());
    let host = session.endpoint()?.host.to_string();
    let facts = Facts {
        directory: &directory,
        env: &session::env,
        read: &read_file,
        proxies: session.config.proxies_for(&host).map(|proxies| proxies.variables()).unwrap_or_default(),
        console: if flags.tty { terminal::size() } else { None },
        detach,
    };
    plan_create(flags, &arguments[0], &arguments[1..], &facts).map_err(|error| refused(session, error))
}

/// Reads a file that a flag names, in Go's words for what goes wrong.
pub fn read_file(path: &str) -> Result<Vec<u8>, Error> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(Error::invalid(format!("invalid env file ({path}): read {path}: is a directory")));
        }
        Ok(found) if found.len() > minke_model::env::FILE_LIMIT_BYTES as u64 => {
            return Err(Error::invalid(format!("{path} is too large")));
        }
        _ => {}
    }
    fs::read(path).map_err(|error| Error::invalid(format!("open {path}: {}", reason(&error))))
}

/// An error of the system in lower case and without its number.
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Makes the container and gives its id; says what the engine warns of.
pub async fn make(
    session: &Session,
    flags: &ContainerFlags,
    request: &ContainerCreateRequest,
) -> Result<String, Failure> {
    check(session, flags)?;
    let client = session.client().await?;
    let (query, image) = (create_query(flags), &request.config.image);
    pulling::first(session, flags, image).await?;
    let made = match client.container_create(&query, request).await {
        Ok(made) => made,
        Err(error) => {
            pulling::missing(session, flags, image, error).await?;
            let again = client.container_create(&query, request).await;
            again.map_err(|error| refused(session, error))?
        }
    };
    warn(session, &made.warnings);
    if !flags.cidfile.is_empty() {
        fs::write(&flags.cidfile, &made.id).map_err(|error| {
            refused(
                session,
                Error::system(format!(
                    "failed to create the container ID file: open {}: {}",
                    flags.cidfile,
                    reason(&error)
                )),
            )
        })?;
    }
    Ok(made.id)
}

/// The parameters of the request that makes a container.
pub fn create_query(flags: &ContainerFlags) -> ContainerCreateQuery {
    ContainerCreateQuery { name: flags.name.clone(), platform: flags.platform.clone() }
}

/// Says what the engine warns of.
pub fn warn(session: &Session, warnings: &[String]) {
    for warning in warnings {
        session.complain(format_args!("WARNING: {warning}"));
    }
}

/// Refuses what needs no engine to be refused, and warns of what needs none.
pub fn check(session: &Session, flags: &ContainerFlags) -> Result<(), Failure> {
    let is_loopback = |server: &&String| server.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    for server in flags.networks.dns.iter().filter(is_loopback) {
        session.complain(format_args!("WARNING: Localhost DNS ({server}) may fail in containers."));
    }
    if !flags.cidfile.is_empty() && fs::metadata(&flags.cidfile).is_ok() {
        let message = format!(
            "container ID file found, make sure the other container isn't running or delete {}",
            flags.cidfile
        );
        return Err(refused(session, Error::invalid(message)));
    }
    Ok(())
}
