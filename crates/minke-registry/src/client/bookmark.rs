//! Uploads that another process may go on with: where the registry keeps them is written down as they go, and looked up
//! before a new one is begun.

use std::sync::Arc;

use hyper::Method;
use hyper::header::{LOCATION, RANGE};

use super::repository::Repository;
use super::send::Call;
use super::upload::{Session, location, range_end};
use super::url::Url;
use super::{Error, Result};

/// Where one upload is remembered. What is kept may be as good as a credential for that upload.
pub trait Bookmark: Send + Sync {
    /// The address that was kept last, if any is.
    fn address(&self) -> Option<String>;
    /// Keeps an address, in place of the one before; nothing where the upload has ended.
    fn keep(&self, address: Option<&str>);
}

/// A bookmark, or none.
pub type Marked = Option<Arc<dyn Bookmark>>;

impl Repository {
    /// The upload that was kept, with what the registry has of it; nothing where it is not there any more, or cannot be gone
    /// on with, which is all the same to who can begin anew.
    pub(super) async fn resume(&self, bookmark: &Marked) -> Option<Session<'_>> {
        let bookmark = bookmark.as_ref()?;
        let url = Url::parse(&bookmark.address()?)?;
        match self.look_up(url, bookmark).await {
            Ok(session) => Some(session),
            Err(error) => {
                tracing::debug!("registry: an upload cannot be gone on with: {error}");
                bookmark.keep(None);
                None
            }
        }
    }

    async fn look_up(&self, url: Url, bookmark: &Arc<dyn Bookmark>) -> Result<Session<'_>> {
        // Which of its ways an insecure registry answers by may not be known yet.
        let place = self.registry.tour(&self.domain, false)?.place_of(&url.origin);
        let url = self.check_location(&place, url)?;
        let mut session = Session {
            repository: self,
            place,
            url: url.clone(),
            offset: 0,
            at_once: false,
            bookmark: Some(bookmark.clone()),
        };
        let answer = session.send(Call::new(Method::GET, url)).await?;
        let range = answer.header(RANGE.as_str()).map(range_end);
        if answer.header(LOCATION.as_str()).is_some() {
            session.url = self.check_location(&session.place, location(&answer)?)?;
        }
        answer.body.discard().await;
        match range {
            Some(Some(offset)) => session.offset = offset,
            Some(None) => return Err(Error::invalid("the registry names an invalid range of an upload")),
            None => {}
        }
        Ok(session)
    }
}
