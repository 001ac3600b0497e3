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

/// A way to run an engine.
#[derive(Clone, Copy)]
struct Setting {
    title: &'static str,
    flags: &'static [&'static str],
    /// Bridged packets pass the host's packet filter.
    br_netfilter: bool,
    /// What Debian's ufw on the host is told, command by command; none: there is no ufw. Only ours is asked then.
    ufw: Option<&'static [&'static str]>,
}

const fn setting(title: &'static str, flags: &'static [&'static str], br_netfilter: bool) -> Setting {
    Setting { title, flags, br_netfilter, ufw: None }
}

const PLAIN: &[&str] = &["--iptables=false"];

const SETTINGS: [Setting; 6] = [
    setting("As it comes, with br_netfilter", &[], true),
    setting("As it comes, without br_netfilter", &[], false),
    Setting { ufw: Some(&[]), ..setting("Beside ufw, which lets nothing in (ours alone)", &[], true) },
    Setting {
        ufw: Some(&["allow 8080/tcp", "allow 8082/tcp", "allow 8083/tcp"]),
        ..setting("Beside ufw, which lets the published ports in (ours alone)", &[], true)
    },
    setting("`iptables: false`, with br_netfilter", PLAIN, true),
    setting("`iptables: false`, without br_netfilter", PLAIN, false),
];

/// What ufw's package does when it is installed, and the firewall switched on.
const INSTALL: &str = "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/ && \
                       ufw --force enable";

/// A row per source, an answer per target; none where there is no such way to ask.
type Found = Vec<Vec<Option<bool>>>;

#[test]
fn the_page_says_who_reaches_what() {
    assert!(rustix::process::geteuid().is_root(), "an end-to-end test needs root");
    let found: Vec<(Found, Option<Found>)> = std::thread::scope(|scope| {
        let runs = SETTINGS.map(|setting| {
            let docker = setting.ufw.is_none().then(|| scope.spawn(move || explore(setting, false)));
            (scope.spawn(move || explore(setting, true)), docker)
        });
        let join = |run: std::thread::ScopedJoinHandle<'_, Found>| run.join().expect("it is explored");
        runs.into_iter().map(|(ours, docker)| (join(ours), docker.map(join))).collect()
    });
    let page = render(&found);
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
    page.replace("**", "").replace(" (yes) |", " |").replace(" (no) |", " |")
}

/// Starts an engine with all of it, and asks.
fn explore(setting: Setting, ours: bool) -> Found {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-").tempdir().expect("a scratch folder");
    let place = setting.ufw.map(|commands| {
        let place = Place::with("ufw", scratch.path());
        place.ok(INSTALL);
        commands.iter().for_each(|command| drop(place.ok(&format!("ufw {command}"))));
        place
    });
    let network = if place.is_some() { NETWORKS_HERE } else { NETWORKS };
    let inside = place.as_ref().map(Place::inside).unwrap_or_default();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let flags = [&[network], setting.flags].concat();
    let engine = |places: &Path| match ours {
        true => Box::new(Minke::new(places).inside(&inside)) as Box<dyn Engine>,
        false => Box::new(Dockerd::new(places)) as Box<dyn Engine>,
    };
    let name = if ours { "minke" } else { "dockerd" };
    let side = Side::start_with((name, Client::Docker), engine, scratch.path(), &flags);
    let host = side.engine.pid().expect("the engine runs");
    let value = if setting.br_netfilter { 1 } else { 0 };
    let set = format!(
        "cd /proc/sys/net/bridge && echo {value} >bridge-nf-call-iptables && echo {value} >bridge-nf-call-ip6tables"
    );
    let outside = Neighbour::start(host, "outer0", "cable0");
    ip_in(host, &format!("addr add {HOST}/24 dev outer0"));
    outside.ip("addr add 10.240.0.2/24 dev cable0");
    outside.ip(&format!("route add default via {HOST}"));
    side.ok("network create --subnet 10.241.1.0/24 front");
    side.ok("network create --subnet 10.241.2.0/24 back");
    side.ok("network create --subnet 10.241.3.0/24 --internal inner");
    side.ok("network create --subnet 10.241.4.0/24 -o com.docker.network.bridge.enable_icc=false closed");
    // Behind Docker, which turns it on for networks that are closed.
    assert_eq!(run_in(host, peers::busybox(), &["sh", "-c", &set]).code, 0);
    let mut places: BTreeMap<&str, (i32, IpAddr)> = BTreeMap::new();
    for (name, rest) in [
        ("web", "--network front -p 8080:80"),
        ("plain", "--network front"),
        ("local", "--network front -p 127.0.0.1:8083:80"),
        ("inner", "--network inner"),
        ("closed", "--network closed -p 8082:80"),
        ("beside-front", "--network front"),
        ("beside-inner", "--network inner"),
        ("beside-closed", "--network closed"),
        ("far", "--network back"),
    ] {
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
    let all = ask_all(host, outside.pid(), &places);
    side.ok("rm -f web plain local inner closed beside-front beside-inner beside-closed far");
    all
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

fn render(found: &[(Found, Option<Found>)]) -> String {
    let mut page = String::from(include_str!("reachability/head.md"));
    for (setting, (ours, docker)) in SETTINGS.iter().zip(found) {
        let _ = write!(page, "\n## {}\n\n| from |", setting.title);
        for (title, ..) in TARGETS {
            let _ = write!(page, " {title} |");
        }
        page.push_str("\n|---|");
        TARGETS.iter().for_each(|_| page.push_str("---|"));
        page.push('\n');
        for (at, source) in SOURCES.iter().enumerate() {
            let _ = write!(page, "| {source} |");
            let docker = docker.as_ref().unwrap_or(ours);
            for (ours, docker) in ours[at].iter().zip(&docker[at]) {
                let word = |answer: &Option<bool>| match answer {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "",
                };
                let _ = match ours == docker {
                    true => write!(page, " {} |", word(ours)),
                    false => write!(page, " **{}** ({}) |", word(ours), word(docker)),
                };
            }
            page.push('\n');
        }
    }
    page + include_str!("reachability/tail.md")
}
