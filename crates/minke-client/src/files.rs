//! The endpoints of a container's files.

use minke_api::Operation::*;
use minke_api::container::{
    ArchivePutQuery, ArchiveQuery, CommitQuery, ContainerConfig, FilesystemChange, PATH_STAT_HEADER, PathStat,
};
use minke_api::exec::IdResponse;
use minke_model::Result;

use crate::Client;
use crate::call::{Chunks, Upload};

impl Client {
    /// Looks at what a path in a container names, a link at its end not followed.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`] where container or path is not there.
    pub async fn container_path_stat(&self, container: &str, path: &str) -> Result<PathStat> {
        let query = ArchiveQuery { path: path.into() };
        PathStat::from_header(
            &self.call(ContainerArchiveInfo, container).query(&query).header(PATH_STAT_HEADER).await?,
        )
    }

    /// Opens an archive of what a path in a container names.
    ///
    /// # Errors
    /// As [`Client::container_path_stat`].
    pub async fn container_archive(&self, container: &str, path: &str) -> Result<(PathStat, Chunks)> {
        let query = ArchiveQuery { path: path.into() };
        let call = self.call(ContainerArchive, container).query(&query);
        let (header, chunks) = call.chunks_with_header(PATH_STAT_HEADER).await?;
        Ok((PathStat::from_header(&header)?, chunks))
    }

    /// Writes an archive into a directory of a container.
    ///
    /// # Errors
    /// As [`Client::container_path_stat`], and what can't be written to.
    pub async fn container_archive_put(
        &self,
        container: &str,
        query: &ArchivePutQuery,
        archive: Upload,
    ) -> Result<()> {
        self.call(PutContainerArchive, container).query(query).upload(archive).done().await
    }

    /// Lists what a container has changed in its file system.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn container_changes(&self, container: &str) -> Result<Vec<FilesystemChange>> {
        let changes: Option<Vec<FilesystemChange>> = self.call(ContainerChanges, container).value().await?;
        Ok(changes.unwrap_or_default())
    }

    /// Opens an archive of a container's whole file system.
    ///
    /// # Errors
    /// [`minke_model::ErrorKind::NotFound`].
    pub async fn container_export(&self, container: &str) -> Result<Chunks> {
        self.call(ContainerExport, container).chunks().await
    }

    /// Makes an image of a container; gives its id.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn image_commit(&self, query: &CommitQuery) -> Result<String> {
        let none = &Option::<ContainerConfig>::None;
        let made: IdResponse = self.call(ImageCommit, "").query(query).json(none)?.value().await?;
        Ok(made.id)
    }
}
