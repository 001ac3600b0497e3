//! Debian's ufw on the host: who reaches a published port is what ufw says, while containers run, and nothing of ours gets into what
//! it keeps.

use std::io::{Read, Write};

use minke_e2e::engine::NETWORKS_HERE;
use minke_e2e::place::NEVER;
use minke_e2e::{Client, Neighbour, Place, Rig, within};

/// Serves a page at port 80.
pub const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";

/// What the package's script does when it is installed, and the firewall switched on.
const INSTALL: &str = "cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/*.init /usr/share/ufw/ufw.conf /etc/ufw/ && \
                       ufw --force enable";

/// A host with ufw on and our engine, an outsider 192.0.2.9 at `uplink`, and another one 198.51.100.9 at `side`.
pub struct Beside<'a> {
    pub rig: &'a Rig,
    pub host: &'a Place,
    pub outsider: Neighbour,
    pub other: Neighbour,
}

/// Runs a test on such a host, by one client.
pub fn beside_ufw(client: Client, flags: &[&str], body: impl Fn(&Beside<'_>)) {
    let scratch = tempfile::Builder::new().prefix("minke-e2e-ufw-").tempdir().expect("a scratch folder");
    let host = Place::with("ufw", scratch.path());
    host.ok(INSTALL);
    let inside = host.inside();
    let inside: Vec<&str> = inside.iter().map(String::as_str).collect();
    let flags = [&[NETWORKS_HERE], flags].concat();
    Rig::run_inside(client, &inside, &flags, |rig| {
        let outsider =
            host.neighbour("uplink", &["192.0.2.1/24", "fd01::1/64"], &["192.0.2.9/24", "fd01::9/64"]);
        let other = host.neighbour("side", &["198.51.100.1/24"], &["198.51.100.9/24"]);
        body(&Beside { rig, host: &host, outsider, other });
    });
}

/// Starts the web server at port 8080, and waits until the host gets its page.
pub fn serve(rig: &Rig, flags: &str) {
    rig.ok(&format!("run -d --network bridge --name web -p 8080:80 {flags} busybox {SERVE}"));
    within(20, "the container serves", || {
        let page = rig.on_host(&["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]);
        (page.text() == "hello").then_some(())
    });
}

/// The name of the default network's bridge.
pub fn bridge(rig: &Rig) -> String {
    rig.ok("network inspect bridge --format '{{index .Options \"com.docker.network.bridge.name\"}}'")
        .trim()
        .to_owned()
}

const PORT: &str = "192.0.2.1:8080";
const OTHER: &str = "198.51.100.1:8080";
const PORT6: &str = "[fd01::1]:8080";

/// Chains of iptables instead of a table of ours.
pub const BY_CHAINS: &[&str] = &["--firewall-backend=iptables"];

#[test]
fn a_published_port_is_reached_by_whom_ufw_lets_in() {
    who_reaches_a_published_port(&[]);
}

#[test]
fn a_published_port_is_reached_by_whom_ufw_lets_in_with_chains_of_iptables() {
    who_reaches_a_published_port(BY_CHAINS);
}

fn who_reaches_a_published_port(flags: &[&str]) {
    beside_ufw(Client::Minke, flags, |at| {
        serve(at.rig, "");
        let (outsider, other) = (&at.outsider, &at.other);
        // Command, whether the outsider then gets a page, whether by IPv6, whether the other one does.
        let steps = [
            ("status", false, false, false),
            ("allow 8080/tcp", true, true, true),
            ("deny 8080/tcp", false, false, false),
            ("delete deny 8080/tcp", false, false, false),
            ("allow from 192.0.2.0/24", true, false, false),
            ("insert 1 deny from 192.0.2.9 to any port 8080 proto tcp", false, false, false),
            ("--force delete 1", true, false, false),
            ("delete allow from 192.0.2.0/24", false, false, false),
            ("allow in on side to any port 8080", false, false, true),
            ("--force reset", true, true, true),
            ("--force enable", false, false, false),
            ("default allow incoming", true, true, true),
            ("reject proto tcp from 198.51.100.0/24 to any port 8080:8090", true, true, false),
            ("default deny incoming", false, false, false),
        ];
        for (command, first, by_v6, second) in steps {
            at.host.ok(&format!("ufw {command}"));
            outsider.expect(PORT, first, command);
            outsider.expect(PORT6, by_v6, command);
            other.expect(OTHER, second, command);
        }
        // From the host it is reached all the same.
        assert_eq!(at.rig.on_host(&["wget", "-q", "-O", "-", "http://192.0.2.1:8080/"]).text(), "hello");
    });
}

#[test]
fn who_is_rejected_is_told() {
    for flags in [&[], BY_CHAINS] {
        beside_ufw(Client::Minke, flags, |at| {
            serve(at.rig, "");
            assert!(!at.outsider.gets(PORT, NEVER) && !at.outsider.is_refused(PORT));
            for (command, port) in [
                ("reject 8080/tcp", PORT),
                ("status", PORT6),
                ("delete reject 8080/tcp", ""),
                // What has no protocol of its own.
                ("reject from 192.0.2.9", PORT),
                ("delete reject from 192.0.2.9", ""),
                ("default reject incoming", PORT),
                ("status", PORT6),
                ("default deny incoming", ""),
                ("route reject proto tcp from any to any port 80", ""),
                ("allow 8080/tcp", PORT),
            ] {
                at.host.ok(&format!("ufw {command}"));
                if !port.is_empty() {
                    within(10, &format!("{port} is refused; {command}"), || {
                        at.outsider.is_refused(port).then_some(())
                    });
                }
            }
        });
    }
}

#[test]
fn an_application_of_ufw_opens_its_ports() {
    beside_ufw(Client::Docker, &[], |at| {
        at.rig.ok(&format!("run -d --network bridge --name web -p 80:80 -p 81:80 busybox {SERVE}"));
        at.host.ok("ufw allow WWW");
        at.outsider.await_answer("192.0.2.1:80");
        assert!(!at.outsider.gets("192.0.2.1:81", NEVER));
        at.host.ok("ufw delete allow WWW");
        at.outsider.expect("192.0.2.1:80", false, "the application's rule is deleted");
    });
}

#[test]
fn a_source_that_comes_too_often_is_limited() {
    beside_ufw(Client::Minke, &[], |at| {
        serve(at.rig, "");
        at.host.ok("ufw limit 8080/tcp");
        // Once it is seen, one after the other until the sixth or so is refused; who comes more slowly isn't.
        at.other.await_answer(OTHER);
        let answered = (0..20).take_while(|_| at.outsider.gets(PORT, NEVER)).count();
        assert!((4..12).contains(&answered), "{answered} connections within seconds");
        assert!(at.other.gets(OTHER, NEVER), "another source has a limit of its own");
    });
}

#[test]
fn containers_notice_nothing_of_ufw_being_reloaded_and_switched_off_and_on() {
    beside_ufw(Client::Minke, &[], |at| {
        at.host.ok("ufw allow 8080/tcp");
        serve(at.rig, "");
        at.rig.ok("run -d --network bridge --name echo -p 8082:7 busybox nc -ll -p 7 -e cat");
        at.host.ok("ufw allow 8082/tcp");
        at.outsider.await_answer(PORT);
        let mut held = within(10, "the echo is reached", || {
            let stream = at.outsider.connect("192.0.2.1:8082", NEVER)?;
            stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).ok()?;
            Some(stream)
        });
        let mut echo = |word: &[u8]| {
            held.write_all(word).expect("the connection holds");
            let mut answer = vec![0; word.len()];
            held.read_exact(&mut answer).expect("the connection goes on");
            assert_eq!(answer, word);
        };
        echo(b"first");
        let gateway = "exec web ping -c 1 -W 5 192.0.2.9";
        at.rig.ok(gateway);
        for command in ["reload", "disable", "--force enable", "reload"] {
            at.host.ok(&format!("ufw {command}"));
            echo(command.as_bytes());
            at.outsider.expect(PORT, true, command);
            at.rig.ok(gateway);
        }
        // What iptables prints, it takes again, with our containers up.
        let saved = at.host.ok("iptables-save | grep -v '^#' | sed 's/\\[.*\\]//'");
        at.host.ok("iptables -S >/dev/null && iptables-save | iptables-restore");
        assert_eq!(at.host.ok("iptables-save | grep -v '^#' | sed 's/\\[.*\\]//'"), saved);
        at.outsider.expect(PORT, true, "restored");
        echo(b"last");
        // Nothing of ours is in what ufw keeps.
        let ours = at.host.run("grep -rliE 'minke|docker|0x1000000' /etc/ufw /etc/default/ufw");
        assert_eq!((ours.code, ours.text().as_str()), (1, ""));
    });
}

#[test]
fn a_new_container_says_what_opens_its_port() {
    for client in [Client::Minke, Client::Docker] {
        beside_ufw(client, &[], |at| {
            let said = at.rig.cli("run --rm --network bridge -p 8080:80 busybox true").stderr;
            assert!(said.contains("To open: ufw allow 8080/tcp"), "{said}");
            assert_eq!(said.trim().lines().count(), 1, "{said}");
            at.host.ok("ufw allow 8080/tcp");
            for flags in ["-p 8080:80", "-p 127.0.0.1:9090:80", ""] {
                within(10, "nothing is said of what is open", || {
                    let line = format!("run --rm --network bridge {flags} busybox true");
                    at.rig.cli(&line).stderr.is_empty().then_some(())
                });
            }
        });
    }
}

#[test]
fn the_policy_of_docker_opens_ports_past_ufw() {
    beside_ufw(Client::Minke, &["--publish-policy", "docker"], |at| {
        let said = at.rig.cli("run --rm --network bridge -p 8080:80 busybox true").stderr;
        assert_eq!(said, "");
        serve(at.rig, "");
        at.outsider.await_answer(PORT);
        at.host.ok("ufw deny 8080/tcp");
        assert!(at.outsider.gets(PORT, NEVER));
    });
}
