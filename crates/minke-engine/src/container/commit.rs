//! `commit`: a container becomes an image.

use std::sync::Arc;

use minke_api::container::{CommitQuery, ContainerConfig};
use minke_api::exec::IdResponse;
use minke_model::{Context as _, Digest, Error, ErrorKind, Reference, Result, image};
use minke_store::{CommitOptions, ImageEvent};

use super::create;
use super::handle::{Command, Container, View};
use super::lifecycle::State;
use crate::Engine;
use crate::engine::Shared;

impl Engine {
    /// `POST /commit`; `config` instead of the container's own, where it is there.
    pub async fn container_commit(
        &self,
        query: &CommitQuery,
        config: Option<ContainerConfig>,
    ) -> Result<IdResponse> {
        let container = self.shared.containers.resolve(&query.container)?;
        let view = container.view();
        if matches!(view.lifecycle.state, State::Removing) {
            return Err(Error::conflict(format!(
                "You cannot commit container {} which is being removed",
                view.record.id
            )));
        }
        let reference = reference_of(query)?;
        let options = self.commit_options(&view, query, reference.clone(), config)?;
        // One that is paused already stays so.
        let pause = query.pause && matches!(view.lifecycle.state, State::Running(_));
        // A task of its own: a client that goes away leaves no container standing still.
        let work = commit(self.shared.clone(), container, options, pause);
        let (image, events) = tokio::spawn(work).await.context("committing the container")??;
        self.shared.emit_image_events(&events);
        let mut extra = vec![("comment", query.comment.clone()), ("imageID", image.to_string())];
        extra.extend(reference.map(|reference| ("imageRef", reference.with_default_tag().familiar())));
        self.shared.tell(&view.record, "commit", &extra);
        Ok(IdResponse { id: image.to_string() })
    }

    fn commit_options(
        &self,
        view: &View,
        query: &CommitQuery,
        reference: Option<Reference>,
        config: Option<ContainerConfig>,
    ) -> Result<CommitOptions> {
        let own = &view.record.config;
        let container_config = as_image_config(own)?;
        let mut config = match config {
            Some(config) => as_image_config(&config)?,
            None => container_config.clone(),
        };
        minke_store::apply_changes(&minke_store::parse_changes(&query.changes)?, &mut config);
        let mut merged = as_container_config(&config)?;
        create::merge_image(&mut merged, &container_config);
        Ok(CommitOptions {
            reference,
            author: query.author.clone(),
            comment: query.comment.clone(),
            base: Digest::parse(&view.record.image_id).ok(),
            config: as_image_config(&merged)?,
            container_config,
            engine_version: self.version().version,
        })
    }
}

/// Makes the image while the container stands still, if it has to. A note says why it does, so that the next engine lets
/// it go on if this one dies meanwhile.
async fn commit(
    shared: Arc<Shared>,
    container: Arc<Container>,
    options: CommitOptions,
    pause: bool,
) -> Result<(Digest, Vec<ImageEvent>)> {
    let id = container.view().record.id.clone();
    let note = shared.paths(&id).held;
    if pause {
        std::fs::write(&note, "").with_context(|| format!("writing {}", note.display()))?;
    }
    let paused = pause && container.ask(Command::Pause).await.is_ok();
    let (store, of) = (shared.store.clone(), id.clone());
    let committed = tokio::task::spawn_blocking(move || store.commit(&of, &options)).await;
    if paused
        && let Err(error) = container.ask(Command::Unpause).await
        // It may have ended meanwhile, or somebody else has let it go on.
        && error.kind() != ErrorKind::Conflict
    {
        tracing::warn!(container = %id, %error, "the container could not go on after its commit");
    }
    if pause {
        let _ = std::fs::remove_file(&note);
    }
    committed.context("committing the container")?
}

/// Both types have the specification's names.
fn as_image_config(config: &ContainerConfig) -> Result<image::ContainerConfig> {
    let value = serde_json::to_value(config).context("a container's configuration")?;
    serde_json::from_value(value).context("a container's configuration")
}

/// What an image says of the container that it was committed from, as it is shown.
pub fn shown_config(config: &image::ContainerConfig) -> Option<ContainerConfig> {
    as_container_config(config).ok()
}

fn as_container_config(config: &image::ContainerConfig) -> Result<ContainerConfig> {
    let value = serde_json::to_value(config).context("an image's configuration")?;
    serde_json::from_value(value).context("an image's configuration")
}

fn reference_of(query: &CommitQuery) -> Result<Option<Reference>> {
    if query.repo.is_empty() {
        return Ok(None);
    }
    let text = match query.tag.as_str() {
        "" => query.repo.clone(),
        tag => format!("{}:{tag}", query.repo),
    };
    let reference = Reference::parse(&text)?;
    if reference.digest().is_some() {
        return Err(Error::invalid("cannot commit to digest reference"));
    }
    Ok(Some(reference))
}
