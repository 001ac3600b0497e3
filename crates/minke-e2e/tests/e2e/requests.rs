//! The requests of `requests.txt` against dockerd and against minke: status, content type and words have to be the same, and
//! whatever dockerd's JSON has.

use minke_e2e::{Client, Dockerd, Minke, Response, http, once, within};
use serde_json::{Value, json};

use crate::differential::{Side, compare_shape, normalized};

/// The version of requests that name none.
const API: &str = "1.41";

/// How much has to be equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Status, content type, words; of JSON the shape.
    Shape,
    /// The JSON's values, too.
    Values,
    /// The status.
    Status,
    /// dockerd is not asked.
    Ours,
}

/// A line of the table.
struct Row {
    line: &'static str,
    extent: Extent,
    keep: Option<&'static str>,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    /// What ours has to answer, where dockerd is too old to say.
    expected: Option<(u16, &'static str)>,
}

impl Row {
    fn parse(line: &'static str) -> Self {
        let (rest, expected) = match line.rsplit_once(" => ") {
            Some((rest, expected)) => (rest, Some(expected.split_once(' ').unwrap_or((expected, "")))),
            None => (line, None),
        };
        let (rest, body) = rest.split_once(" :: ").unwrap_or((rest, ""));
        let mut words = rest.split_whitespace().peekable();
        let mark = words.next_if(|word| word.len() == 1);
        let extent = match mark {
            None => Extent::Shape,
            Some("=") => Extent::Values,
            Some("~") => Extent::Status,
            Some("!") => Extent::Ours,
            Some(other) => panic!("{other} in {line}"),
        };
        let keep = words.next_if(|word| word.ends_with("<-")).map(|word| word.trim_end_matches("<-"));
        let (method, path) = (words.next().expect("a method"), words.next().expect("a path"));
        let mut headers = vec![("Content-Type", "application/json")];
        for word in words {
            match word.strip_prefix('+').expect("a header begins with +") {
                "none" => headers.clear(),
                "chunked" => headers.push(("Transfer-Encoding", "chunked")),
                header => {
                    let (name, value) = header.split_once('=').expect("a header's value");
                    headers.retain(|(known, _)| *known != name);
                    headers.push((name, value));
                }
            }
        }
        let expected = expected.map(|(status, words)| (status.parse().expect("a status"), words));
        Self { line, extent, keep, method, path, headers, body, expected }
    }

    /// Sends it, with what earlier answers gave in place of `{name}`.
    fn send(&self, side: &Side, kept: &mut Vec<(&'static str, String)>) -> Response {
        let mut path = match self.path.starts_with("/v") && !self.path.starts_with("/volumes") {
            true if !self.path.starts_with("/version") => self.path.to_string(),
            _ => format!("/v{API}{}", self.path),
        };
        for (name, value) in &*kept {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let answer =
            http::exchange(side.engine.socket(), self.method, &path, &self.headers, self.body.as_bytes())
                .unwrap_or_else(|error| panic!("{error}: {}", self.line));
        if let Some(name) = self.keep {
            let id =
                answer.json()["Id"].as_str().unwrap_or_else(|| panic!("no id: {}", self.line)).to_string();
            kept.push((name, id));
        }
        answer
    }

    /// What differs, if something does.
    fn difference(&self, dockerd: Option<&Response>, ours: &Response) -> Option<String> {
        if let Some((status, words)) = self.expected {
            let fits = ours.status == status && normalized(&ours.message()).contains(words);
            let said = dockerd.map(|dockerd| (dockerd.status, dockerd.message()));
            return (!fits).then(|| format!("ours: {} {}; dockerd: {said:?}", ours.status, ours.message()));
        }
        let dockerd = dockerd?;
        if dockerd.status != ours.status {
            let said = |answer: &Response| format!("{} {}", answer.status, short(&answer.text()));
            return Some(format!("dockerd: {}\n  ours: {}", said(dockerd), said(ours)));
        }
        if self.extent == Extent::Status {
            return None;
        }
        let kind = |answer: &Response| answer.header("content-type").map(str::to_string);
        if kind(dockerd).is_some() && kind(dockerd) != kind(ours) {
            return Some(format!("dockerd: {:?}\n  ours: {:?}", kind(dockerd), kind(ours)));
        }
        if self.method == "HEAD" {
            return None;
        }
        let json = |answer: &Response| serde_json::from_slice::<Value>(&answer.body).ok();
        let mut found = Vec::new();
        match (json(dockerd), json(ours)) {
            (Some(one), Some(other)) if dockerd.status < 400 => {
                compare_shape("", &one, &other, &mut found);
                if self.extent == Extent::Values {
                    let words = |value: &Value| normalized(&value.to_string());
                    let same = words(&one) == words(&other);
                    found.extend((!same).then(|| format!("dockerd: {one}\n  ours: {other}")));
                }
            }
            _ => {
                let (one, other) = (plain(dockerd), plain(ours));
                // An archive is each engine's own; others look into it.
                let same = normalized(&one) == normalized(&other) || dockerd.body.len() > 2000;
                found.extend((!same).then(|| format!("dockerd: {one}\n  ours: {other}")));
            }
        }
        (!found.is_empty()).then(|| found.join("\n  "))
    }
}

fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

/// An error's words, or a body without the frames of a stream: how much is in each is nobody's promise.
fn plain(answer: &Response) -> String {
    if answer.body.first().is_none_or(|kind| *kind > 2) {
        return answer.message();
    }
    let mut streams = [Vec::new(), Vec::new(), Vec::new()];
    let mut rest = answer.body.as_slice();
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (payload, tail) = tail.split_at_checked(length).unwrap_or((tail, &[]));
        streams[usize::from(head[0].min(2))].extend_from_slice(payload);
        rest = tail;
    }
    String::from_utf8_lossy(&streams.join(&b'|')).into_owned()
}

#[test]
fn requests_are_answered_as_by_dockerd() {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let place = scratch.path();
    let dockerd = Side::start("dockerd", Client::Docker, |places| Box::new(Dockerd::new(places)), place);
    let ours = Side::start("minke", Client::Docker, |places| Box::new(Minke::new(places)), place);
    let (mut theirs_kept, mut ours_kept) = (Vec::new(), Vec::new());
    let mut found = Vec::new();
    let lines = include_str!("requests.txt").lines().map(str::trim);
    let rows: Vec<Row> =
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(Row::parse).collect();
    for row in &rows {
        let theirs = (row.extent != Extent::Ours).then(|| row.send(&dockerd, &mut theirs_kept));
        let answer = row.send(&ours, &mut ours_kept);
        found
            .extend(row.difference(theirs.as_ref(), &answer).map(|words| format!("{}\n  {words}", row.line)));
    }
    assert!(rows.len() > 400, "{} requests", rows.len());
    assert!(found.is_empty(), "{} of {} requests differ:\n{}", found.len(), rows.len(), found.join("\n"));
}

#[test]
fn the_beginning_of_two_ids_is_refused() {
    once(|rig| {
        let create = || {
            let body = json!({"Image": "busybox", "HostConfig": {"NetworkMode": "none"}});
            let answer = rig.post("/containers/create", &body).json();
            answer["Id"].as_str().unwrap_or_default().to_string()
        };
        // Of seventeen, two begin with the same digit.
        let ids: Vec<String> = (0..17).map(|_| create()).collect();
        let twice = ids
            .iter()
            .map(|id| &id[..1])
            .find(|digit| ids.iter().filter(|id| id.starts_with(digit)).count() > 1);
        let twice = twice.expect("two ids with the same digit");
        let answer = rig.get(&format!("/containers/{twice}/json"));
        assert_eq!(answer.status, if rig.is_like(23) { 400 } else { 500 }, "{answer:?}");
        let words = format!("multiple IDs found with provided prefix: {twice}");
        assert_eq!(answer.message().to_lowercase(), words.to_lowercase());
        assert_eq!(rig.get(&format!("/containers/{}/json", &ids[0][..20])).status, 200);
    });
}

#[test]
fn a_wait_ends_with_the_run_although_the_policy_begins_another() {
    once(|rig| {
        let body = json!({
            "Image": "busybox", "Cmd": ["sh", "-c", "read line; exit 4"], "OpenStdin": true, "StdinOnce": true,
            "HostConfig": {"NetworkMode": "none", "RestartPolicy": {"Name": "always"}},
        });
        assert_eq!(rig.post("/containers/create?name=one", &body).status, 201);
        assert_eq!(rig.post("/containers/one/start", &json!(null)).status, 204);
        let socket = rig.socket().to_path_buf();
        let wait = std::thread::spawn(move || {
            http::request(&socket, "POST", "/containers/one/wait", "application/json", &[])
        });
        within(30, "the wait is there, and the run ends", || {
            let (_, stream) =
                http::upgrade(rig.socket(), "/containers/one/attach?stream=1&stdin=1", &[]).ok()?;
            http::half_close(&stream);
            wait.is_finished().then_some(())
        });
        let answer = wait.join().expect("no panic").expect("an answer");
        assert_eq!(answer.json()["StatusCode"], 4, "{answer:?}");
    });
}
