//! The table of endpoints: one row per operation, read by the server's router, by the client and by the parity report.

use crate::ApiVersion;
use crate::query::escape;

/// The methods that the API uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Reads the headers only.
    Head,
    /// Changes something.
    Post,
    /// Puts something in place.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// The method's word in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What an operation acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noun {
    /// The engine itself.
    System,
    /// Containers.
    Container,
    /// Further processes in containers.
    Exec,
    /// Images.
    Image,
    /// Volumes.
    Volume,
    /// Networks.
    Network,
}

/// How an operation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// A status and nothing else.
    Empty,
    /// One JSON value, or plain text.
    Value,
    /// A body that flows while the operation goes on.
    Stream,
    /// The connection itself, after an upgrade.
    Connection,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The specification's operation.
    pub operation: Operation,
    /// The method.
    pub method: Method,
    /// The path without version; `{id}` is one segment, `{name}` one or more.
    pub path: &'static str,
    /// What it acts on.
    pub noun: Noun,
    /// The first version that has it.
    pub since: ApiVersion,
    /// The last version that has it, if it is gone.
    pub until: Option<ApiVersion>,
    /// How it answers.
    pub answer: Answer,
}

macro_rules! table {
    ($($operation:ident $method:ident $path:literal $noun:ident $answer:ident;)*) => {
        /// The operations, named as in the specification.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Operation { $(#[doc = concat!("`", stringify!($method), " ", $path, "`")] $operation,)* }

        /// Every endpoint that is served, in the order of the operations.
        pub const ENDPOINTS: &[Endpoint] = &[$(Endpoint {
            operation: Operation::$operation,
            method: Method::$method,
            path: $path,
            noun: Noun::$noun,
            since: ApiVersion::MIN,
            until: None,
            answer: Answer::$answer,
        },)*];
    };
}

table! {
    SystemPing Get "/_ping" System Value;
    SystemPingHead Head "/_ping" System Empty;
    SystemVersion Get "/version" System Value;
    SystemInfo Get "/info" System Value;
    SystemEvents Get "/events" System Stream;
    SystemDataUsage Get "/system/df" System Value;
    SystemAuth Post "/auth" System Value;
    DistributionInspect Get "/distribution/{name}/json" System Value;
    BuildPrune Post "/build/prune" System Value;

    ContainerList Get "/containers/json" Container Value;
    ContainerCreate Post "/containers/create" Container Value;
    ContainerInspect Get "/containers/{id}/json" Container Value;
    ContainerLogs Get "/containers/{id}/logs" Container Stream;
    ContainerResize Post "/containers/{id}/resize" Container Empty;
    ContainerStart Post "/containers/{id}/start" Container Empty;
    ContainerStop Post "/containers/{id}/stop" Container Empty;
    ContainerRestart Post "/containers/{id}/restart" Container Empty;
    ContainerKill Post "/containers/{id}/kill" Container Empty;
    ContainerPause Post "/containers/{id}/pause" Container Empty;
    ContainerUnpause Post "/containers/{id}/unpause" Container Empty;
    ContainerRename Post "/containers/{id}/rename" Container Empty;
    ContainerStats Get "/containers/{id}/stats" Container Stream;
    ContainerTop Get "/containers/{id}/top" Container Value;
    ContainerUpdate Post "/containers/{id}/update" Container Value;
    ContainerAttach Post "/containers/{id}/attach" Container Connection;
    ContainerAttachWebsocket Get "/containers/{id}/attach/ws" Container Connection;
    ContainerWait Post "/containers/{id}/wait" Container Stream;
    ContainerPrune Post "/containers/prune" Container Value;
    ContainerDelete Delete "/containers/{name}" Container Empty;
    ContainerArchiveInfo Head "/containers/{id}/archive" Container Empty;
    ContainerArchive Get "/containers/{id}/archive" Container Stream;
    PutContainerArchive Put "/containers/{id}/archive" Container Empty;
    ContainerChanges Get "/containers/{id}/changes" Container Value;
    ContainerExport Get "/containers/{id}/export" Container Stream;

    ContainerExec Post "/containers/{id}/exec" Exec Value;
    ExecStart Post "/exec/{id}/start" Exec Connection;
    ExecResize Post "/exec/{id}/resize" Exec Empty;
    ExecInspect Get "/exec/{id}/json" Exec Value;

    ImageList Get "/images/json" Image Value;
    ImageCreate Post "/images/create" Image Stream;
    ImageLoad Post "/images/load" Image Stream;
    ImageGetAll Get "/images/get" Image Stream;
    ImageGet Get "/images/{name}/get" Image Stream;
    ImageSearch Get "/images/search" Image Value;
    ImageInspect Get "/images/{name}/json" Image Value;
    ImageHistory Get "/images/{name}/history" Image Value;
    ImagePush Post "/images/{name}/push" Image Stream;
    ImageTag Post "/images/{name}/tag" Image Empty;
    ImagePrune Post "/images/prune" Image Value;
    ImageDelete Delete "/images/{name}" Image Value;

    NetworkList Get "/networks" Network Value;
    NetworkCreate Post "/networks/create" Network Value;
    NetworkPrune Post "/networks/prune" Network Value;
    NetworkConnect Post "/networks/{id}/connect" Network Empty;
    NetworkDisconnect Post "/networks/{id}/disconnect" Network Empty;
    NetworkInspect Get "/networks/{id}" Network Value;
    NetworkDelete Delete "/networks/{id}" Network Empty;

    VolumeList Get "/volumes" Volume Value;
    VolumeCreate Post "/volumes/create" Volume Value;
    VolumePrune Post "/volumes/prune" Volume Value;
    VolumeInspect Get "/volumes/{id}" Volume Value;
    VolumeUpdate Put "/volumes/{id}" Volume Empty;
    VolumeDelete Delete "/volumes/{id}" Volume Empty;
    ImageCommit Post "/commit" Image Value;
}

impl Operation {
    /// The operation's row.
    pub fn endpoint(self) -> &'static Endpoint {
        &ENDPOINTS[self as usize]
    }
}

impl Endpoint {
    /// The path with its parameter filled in; slashes stay as they are in a `{name}` and are escaped in an `{id}`.
    pub fn path_for(&self, parameter: &str) -> String {
        self.path.replace("{id}", &escape(parameter, false)).replace("{name}", &escape(parameter, true))
    }

    /// The parameter of a path that fits this row (`Some("")` where the row has none). The path is still escaped.
    pub fn match_path<'a>(&self, path: &'a str) -> Option<&'a str> {
        let Some((before, after)) = self.path.split_once('{') else {
            return (self.path == path).then_some("");
        };
        let (parameter, after) = after.split_once('}')?;
        let value = path.strip_prefix(before)?.strip_suffix(after)?;
        let fits = match parameter {
            "name" => !value.starts_with('/') && !value.ends_with('/'),
            _ => !value.contains('/'),
        };
        (fits && !value.is_empty()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_finds_its_row() {
        for endpoint in ENDPOINTS {
            assert_eq!(endpoint.operation.endpoint(), endpoint);
        }
    }

    #[test]
    fn names_of_images_may_have_slashes() {
        let endpoint = Operation::ImageInspect.endpoint();
        assert_eq!(endpoint.match_path("/images/host:5000/a/b:tag/json"), Some("host:5000/a/b:tag"));
        assert_eq!(endpoint.match_path("/images/json"), None);
        assert_eq!(endpoint.path_for("a/b@sha256:1"), "/images/a/b%40sha256%3A1/json");
    }

    #[test]
    fn ids_are_one_segment() {
        let endpoint = Operation::ContainerInspect.endpoint();
        assert_eq!(endpoint.match_path("/containers/abc/json"), Some("abc"));
        assert_eq!(endpoint.match_path("/containers/a/b/json"), None);
        assert_eq!(endpoint.match_path("/containers//json"), None);
    }
}
