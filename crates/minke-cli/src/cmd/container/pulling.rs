//! The image of a container that is about to be made: pulled first, or when it turns out to be missing, as `--pull` says.

use minke_model::{Error, ErrorKind, Reference};

use super::create::refused;
use super::flags::ContainerFlags;
use crate::cmd::image::progress::Out;
use crate::cmd::image::pull::pull;
use crate::error::Failure;
use crate::session::Session;

/// Pulls the image where that has to be done before anything else.
pub async fn first(session: &Session, flags: &ContainerFlags, image: &str) -> Result<(), Failure> {
    match (flags.pull.as_str(), Reference::parse(image)) {
        ("always", Ok(reference)) => bring(session, flags, &reference.with_default_tag()).await,
        _ => Ok(()),
    }
}

/// Pulls the image if `error` says that it is missing and it may be pulled; then the container can be asked for again.
/// Everything else is the failure.
pub async fn missing(
    session: &Session,
    flags: &ContainerFlags,
    image: &str,
    error: Error,
) -> Result<(), Failure> {
    let Ok(reference) = Reference::parse(image) else { return Err(refused(session, error)) };
    if flags.pull != "missing" || !is_missing_image(&error) {
        return Err(refused(session, error));
    }
    let reference = reference.with_default_tag();
    if !flags.quiet {
        session.complain(format_args!("Unable to find image '{}' locally", reference.familiar()));
    }
    bring(session, flags, &reference).await
}

fn is_missing_image(error: &Error) -> bool {
    let words = error.message().to_lowercase();
    error.kind() == ErrorKind::NotFound
        && (words.contains("no such image") || words.contains("does not match the specified platform"))
}

async fn bring(session: &Session, flags: &ContainerFlags, reference: &Reference) -> Result<(), Failure> {
    let out = if flags.quiet { Out::Nowhere } else { Out::Error };
    let pulled = Box::pin(pull(session, reference, &flags.platform, out)).await;
    pulled.map_err(|failure| match failure {
        Failure::Error(error) => refused(session, error),
        Failure::Plain(words) => refused(session, Error::system(words)),
        other => other,
    })
}
