//! Who reaches what: docs/reachability.md, made from what is found between network namespaces, on our engine and on dockerd.
//!
//! `MINKE_E2E_WRITE_PAGES=1` writes the page anew; without it, the page has to be what is found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use minke_e2e::engine::{NETWORKS, NETWORKS_HERE};
use minke_e2e::neighbour::{Neighbour, gets_page, ip_in, run_in};
use minke_e2e::{Client, Dockerd, Engine, Minke, Place, patience, peers, within};

use super::differential::Side;

/// Serves a page at port 80, for both families.
const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";
/// The host's address for who is outside.
const HOST: &str = "10.240.0.1";
/// How long an answer may take; one that is missing is asked for twice.
const LIMIT: Duration = Duration::from_millis(1500);

/// Who asks.
const SOURCES: [&str; 7] = [
    "another host",
    "the host, by its address",
    "the host, by 127.0.0.1",
    "the host, by ::1",
    "a container of the same network",
    "a container of another network",
    "the container itself",
];

/// What is asked: its container, the port of the host that is published, if it is asked by that.
const TARGETS: [(&str, &str, Option<u16>); 6] = [
    ("published", "web", Some(8080)),
    ("not published", "plain", None),
    ("internal", "inner", None),
    ("published, icc off", "closed", Some(8082)),
    ("not published, icc off", "closed", None),
    ("published at 127.0.0.1", "local", Some(8083)),
];

/// All containers, and what is said of each.
const CONTAINERS: [(&str, &str); 9] = [
    ("web", "--network front -p 8080:80"),
    ("plain", "--network front"),
    ("local", "--network front -p 127.0.0.1:8083:80"),
    ("inner", "--network inner"),
    ("closed", "--network closed -p 8082:80"),
    ("beside-front", "--network front"),
    ("beside-inner", "--network inner"),
    ("beside-closed", "--network closed"),
    ("far", "--network back"),
];

/// A way to run our engine.
struct Backend {
    title: &'static str,
    flags: &'static [&'static str],
    /// Which of [`DOCKERD`] does the same.
    like: usize,
    /// Whether another host reaches the published port, by what ufw is told: by that is known that a change of ufw's has arrived.
    published: [bool; 3],
}

const PLAIN: &[&str] = &["--iptables=false"];
const CHAINS: &[&str] = &["--firewall-backend=iptables"];

const BACKENDS: [Backend; 3] = [
    Backend { title: "By nftables, as it comes", flags: &[], like: 0, published: [true, false, true] },
    Backend { title: "`firewall-backend: iptables`", flags: CHAINS, like: 0, published: [true, false, true] },
    Backend { title: "`iptables: false`", flags: PLAIN, like: 1, published: [true, false, true] },
];

/// The ways to run dockerd.
const DOCKERD: [&[&str]; 2] = [&[], PLAIN];

/// Whether bridged packets pass the host's packet filter.
const BRIDGED: [(&str, &str); 2] = [("with br_netfilter", "1"), ("without br_netfilter", "0")];

/// What ufw's package does when it is installed; the firewall is off.
const INSTALL: &str =
    "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/";

/// What Debian's ufw is told, one after the other, while everything runs: nothing, to let nothing in, to let in what is published.
const UFW: [&[&str]; 3] = [&[], &["--force enable"], &["allow 8080/tcp", "allow 8082/tcp", "allow 8083/tcp"]];

/// A row per source, an answer per target; none where there is no such way to ask.
type Found = Vec<Vec<Option<bool>>>;
/// By [`BRIDGED`].
type Both = [Found; 2];

#[test]
fn the_page_says_who_reaches_what() {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let (ours, docker): (Vec<Vec<Both>>, Vec<Both>) = std::thread::scope(|scope| {
        let docker = DOCKERD.map(|flags| scope.spawn(move || explore_dockerd(flags)));
        let ours = BACKENDS.map(|backend| scope.spawn(move || explore_ours(&backend)));
        let ours = ours.into_iter().map(|run| run.join().expect("it is explored")).collect();
        (ours, docker.into_iter().map(|run| run.join().expect("it is explored")).collect())
    });
    let page = render(&ours, &docker);
    let place = peers::project().join("docs/reachability.md");
    if std::env::var_os("MINKE_E2E_WRITE_PAGES").is_some() {
        std::fs::write(&place, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(&place).unwrap_or_default();
    // The page is about dockerd 20.10: beside another one, only ours has to be as it says.
    let same =
        if is_the_pages_dockerd() { written == page } else { ours_alone(&written) == ours_alone(&page) };
    assert!(same, "docs/reachability.md says something else than what is found:\n{page}");
}

fn is_the_pages_dockerd() -> bool {
    let versions =
        std::process::Command::new(peers::script()).arg("versions").arg(peers::folder("docker")).output();
    let versions =
        versions.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    versions.lines().any(|line| line.starts_with("docker.io 20.10."))
}

/// The page without dockerd's answers.
fn ours_alone(page: &str) -> String {
    page.replace("**", "").replace(" (yes)", "").replace(" (no)", "")
}

/// Asks our engine, for each thing that ufw is told.
fn explore_ours(backend: &Backend) -> Vec<Both> {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let place = Place::with("ufw", scratch.path());
    place.ok(INSTALL);
    let inside = place.inside();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let flags = [&[NETWORKS_HERE], backend.flags].concat();
    let engine = |places: &Path| Box::new(Minke::new(places).inside(&inside)) as Box<dyn Engine>;
    let side = Side::start_with(("minke", Client::Docker), engine, scratch.path(), &flags);
    let scene = Scene::make(side, true);
    let asked = UFW.iter().zip(backend.published).map(|(commands, published)| {
        commands.iter().for_each(|command| drop(place.ok(&format!("ufw {command}"))));
        let words = format!("{}: {published} after {commands:?}", backend.title);
        let published_at = SocketAddr::new(HOST.parse().expect("an address"), 8080);
        within(30, &words, || {
            let reached = gets_page(scene.outside.pid(), published_at, "hello", LIMIT);
            (reached == published).then_some(())
        });
        scene.ask_both()
    });
    let asked = asked.collect();
    scene.end();
    asked
}

/// Asks dockerd.
fn explore_dockerd(flags: &[&str]) -> Both {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let flags = [&[NETWORKS], flags].concat();
    let engine = |places: &Path| Box::new(Dockerd::new(places)) as Box<dyn Engine>;
    let side = Side::start_with(("dockerd", Client::Docker), engine, scratch.path(), &flags);
    let scene = Scene::make(side, false);
    let asked = scene.ask_both();
    scene.end();
    asked
}

/// An engine with all that is asked, and another host.
struct Scene {
    side: Side,
    host: i32,
    outside: Neighbour,
    places: BTreeMap<&'static str, (i32, IpAddr)>,
}

impl Scene {
    fn make(side: Side, ours: bool) -> Self {
        let host = side.engine.pid().expect("the engine runs");
        let outside = Neighbour::start(host, "outer0", "cable0");
        ip_in(host, &format!("addr add {HOST}/24 dev outer0"));
        outside.ip("addr add 10.240.0.2/24 dev cable0");
        outside.ip(&format!("route add default via {HOST}"));
        side.ok("network create --subnet 10.241.1.0/24 front");
        side.ok("network create --subnet 10.241.2.0/24 back");
        side.ok("network create --subnet 10.241.3.0/24 --internal inner");
        side.ok("network create --subnet 10.241.4.0/24 -o com.docker.network.bridge.enable_icc=false closed");
        let mut places = BTreeMap::new();
        for (name, rest) in CONTAINERS {
            side.ok(&format!("run -d --name {name} {rest} busybox {SERVE}"));
            let format = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
            let shown = side.ok(&format!("inspect --format '{format}' {name}"));
            let (pid, address) = shown.split_once(' ').expect("two words");
            let pid = pid.parse().expect("a pid");
            let pid = if ours { pid } else { of_peer(host, pid) };
            let address: IpAddr = address.parse().expect("an address");
            within(60, &format!("{name} serves"), || {
                gets_page(pid, SocketAddr::new(address, 80), "hello", LIMIT).then_some(())
            });
            places.insert(name, (pid, address));
        }
        Self { side, host, outside, places }
    }

    /// Asks with and without br_netfilter, which Docker turns on for networks that are closed.
    fn ask_both(&self) -> Both {
        BRIDGED.map(|(_, value)| {
            let set = format!(
                "cd /proc/sys/net/bridge && echo {value} >bridge-nf-call-iptables && echo {value} >bridge-nf-call-ip6tables"
            );
            assert_eq!(run_in(self.host, peers::busybox(), &["sh", "-c", &set]).code, 0);
            ask_all(self.host, self.outside.pid(), &self.places)
        })
    }

    fn end(self) {
        let names = CONTAINERS.map(|(name, _)| name).join(" ");
        self.side.ok(&format!("rm -f {names}"));
    }
}

/// Asks everything at once.
fn ask_all(host: i32, outside: i32, places: &BTreeMap<&str, (i32, IpAddr)>) -> Found {
    let limit = LIMIT * patience();
    let ask = |row: usize, (_, target, port): (&str, &str, Option<u16>)| {
        let (own, address) = places[target];
        let by = |host: &str| port.map(|port| SocketAddr::new(host.parse().expect("an address"), port));
        let usual = by(HOST).unwrap_or(SocketAddr::new(address, 80));
        let beside = match target {
            "inner" => "beside-inner",
            "closed" => "beside-closed",
            _ => "beside-front",
        };
        let (from, to) = match row {
            0 => (outside, usual),
            1 => (host, usual),
            2 => (host, by("127.0.0.1")?),
            3 => (host, by("::1")?),
            4 => (places[beside].0, usual),
            5 => (places["far"].0, usual),
            _ => (own, usual),
        };
        Some(gets_page(from, to, "hello", limit) || gets_page(from, to, "hello", limit))
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let row = |row: usize| TARGETS.map(|target| scope.spawn(move || ask(row, target)));
        let rows: Vec<_> = (0..SOURCES.len()).map(row).collect();
        let join = |row: [std::thread::ScopedJoinHandle<'_, Option<bool>>; TARGETS.len()]| {
            row.into_iter().map(|one| one.join().expect("it is asked")).collect()
        };
        rows.into_iter().map(join).collect()
    })
}

/// The process that dockerd, in its pid namespace, calls `pid`.
fn of_peer(dockerd: i32, pid: i32) -> i32 {
    let inside = std::fs::read_link(format!("/proc/{dockerd}/ns/pid")).expect("a namespace");
    let is_it = |candidate: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{candidate}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        let numbers: Vec<&str> = numbers.split_whitespace().collect();
        let of_dockerd = |candidate: i32| {
            std::fs::read_link(format!("/proc/{candidate}/ns/pid")).is_ok_and(|found| found == inside)
        };
        // The container's own namespace is below dockerd's.
        numbers.len() >= 2
            && numbers.contains(&pid.to_string().as_str())
            && (of_dockerd(*candidate) || ancestors(*candidate).into_iter().any(of_dockerd))
    };
    minke_e2e::process::all().into_iter().find(is_it).expect("dockerd's container runs")
}

fn ancestors(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut at = pid;
    while at > 1 {
        let status = std::fs::read_to_string(format!("/proc/{at}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        at = parent.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        found.push(at);
    }
    found
}

fn render(ours: &[Vec<Both>], docker: &[Both]) -> String {
    let mut page = String::from(include_str!("reachability/head.md"));
    for (backend, ours) in BACKENDS.iter().zip(ours) {
        for (bridged, (title, _)) in BRIDGED.iter().enumerate() {
            let _ = write!(page, "\n## {}, {title}\n\n| from |", backend.title);
            for (title, ..) in TARGETS {
                let _ = write!(page, " {title} |");
            }
            page.push_str("\n|---|");
            TARGETS.iter().for_each(|_| page.push_str("---|"));
            page.push('\n');
            for (row, source) in SOURCES.iter().enumerate() {
                let _ = write!(page, "| {source} |");
                for column in 0..TARGETS.len() {
                    let by_ufw: Vec<_> = ours.iter().map(|both| both[bridged][row][column]).collect();
                    let _ = write!(page, " {} |", cell(&by_ufw, docker[backend.like][bridged][row][column]));
                }
                page.push('\n');
            }
        }
    }
    page + include_str!("reachability/tail.md")
}

/// One answer, or one for each thing that ufw was told where those differ; dockerd's, without ufw, in brackets where it is another.
fn cell(by_ufw: &[Option<bool>], docker: Option<bool>) -> String {
    let word = |answer: Option<bool>| match answer {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    let first = match by_ufw[0] == docker {
        true => word(by_ufw[0]).to_owned(),
        false => format!("**{}** ({})", word(by_ufw[0]), word(docker)),
    };
    if by_ufw.iter().all(|answer| *answer == by_ufw[0]) {
        return first;
    }
    let others = by_ufw[1..].iter().map(|answer| word(*answer).to_owned());
    std::iter::once(first).chain(others).collect::<Vec<_>>().join(", ")
}
