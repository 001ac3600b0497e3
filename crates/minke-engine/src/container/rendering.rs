//! A container's element of the list as JSON, kept with the view that it was made of: whatever changes makes a new view, which
//! has nothing kept. Only the words that change with the clock are made for each answer.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use minke_api::ApiVersion;
use minke_api::adapt::Adapt as _;
use minke_api::container::ContainerSummary;

use super::handle::View;
use super::inspect::{status_sentence, summary};

/// What has been rendered of a view, if anything.
#[derive(Debug, Default)]
pub struct Rendering(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    /// The version that it was rendered for.
    version: ApiVersion,
    /// The JSON object without the words of its `Status`.
    json: Box<[u8]>,
    /// Where they belong.
    status_at: usize,
}

/// The copy of a view may be changed before anybody sees it, so nothing is known of it.
impl Clone for Rendering {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Appends the element of the list that shows `view` at `now` in the form of `version`, as JSON.
pub fn write_summary(view: &View, version: ApiVersion, now: Timestamp, out: &mut Vec<u8>) {
    let mut kept = view.rendering.0.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.as_ref().is_none_or(|kept| kept.version != version) {
        *kept = Some(render(summary(view, now), version));
    }
    let Some(Kept { json, status_at, .. }) = &*kept else { return };
    out.extend_from_slice(&json[..*status_at]);
    // Our own words: nothing in them has to be escaped.
    out.extend_from_slice(status_sentence(view, now).as_bytes());
    out.extend_from_slice(&json[*status_at..]);
}

fn render(mut summary: ContainerSummary, version: ApiVersion) -> Kept {
    summary.adapt(version);
    let mut with_status = |status: &str| {
        status.clone_into(&mut summary.status);
        serde_json::to_vec(&summary).expect("the API's types have string keys only")
    };
    // Labels may look like anything; but two renderings differ first where the status begins.
    let (json, marked) = (with_status(""), with_status("-"));
    let status_at = json.iter().zip(&marked).take_while(|(one, other)| one == other).count();
    Kept { version, json: json.into(), status_at }
}

#[cfg(test)]
mod tests {
    use minke_api::StringMap;

    use super::*;

    #[test]
    fn the_status_stands_where_it_belongs_whatever_labels_look_like() {
        let looks_like = StringMap::from([
            ("State".to_owned(), "running".to_owned()),
            ("Status".to_owned(), String::new()),
            ("\",\"Status\":\"".to_owned(), "-".to_owned()),
        ]);
        let mut summary = ContainerSummary { labels: looks_like.clone(), ..ContainerSummary::default() };
        summary.host_config.annotations = looks_like;
        for minor in [24, 41, 46, 52, 55] {
            let version = ApiVersion::new(1, minor);
            let kept = render(summary.clone(), version);
            let (before, after) = kept.json.split_at(kept.status_at);
            let mut expected = ContainerSummary { status: "Up 3 minutes".into(), ..summary.clone() };
            expected.adapt(version);
            assert_eq!([before, b"Up 3 minutes", after].concat(), serde_json::to_vec(&expected).unwrap());
        }
    }
}
