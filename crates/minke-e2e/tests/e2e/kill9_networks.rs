//! kill -9 of the engine while networks change: after its restart what is wanted is what is found, whatever it was at. And another
//! engine beside it, and streams through published ports, notice nothing.
//!
//! `MINKE_E2E_NETWORK_KILLS=100` lengthens it, `MINKE_E2E_SEED=7` repeats what was seen, `MINKE_E2E_PUBLISHED=100` is how many
//! containers an engine is started with.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use minke_e2e::engine::{NETWORKS, NETWORKS_HERE};
use minke_e2e::{Client, EngineKind, Rig, networked, within};

use crate::kernel_state::{Notifications, await_settled, in_network_of};
use crate::kill9::Dice;

/// Serves a page at port 80.
pub const SERVE: &str = "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -f -p 80 -h /www'";

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// By our command line, as only our engine's containers outlive it.
fn ours(body: impl Fn(&Rig)) {
    assert_ne!(
        std::env::var("MINKE_E2E_ENGINE").as_deref(),
        Ok("dockerd"),
        "dockerd's containers end with it here"
    );
    Rig::run(Client::Minke, &[NETWORKS], body);
}

#[test]
fn after_every_kill_the_kernel_has_what_the_engine_says() {
    let kills = number_of("MINKE_E2E_NETWORK_KILLS").unwrap_or(10);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number_of("MINKE_E2E_SEED").unwrap_or(clock.map_or(1, |time| u64::from(time.subsec_nanos())));
    eprintln!("--- MINKE_E2E_SEED={seed} MINKE_E2E_NETWORK_KILLS={kills}");
    ours(|rig| {
        // Small ones: an address that doesn't come back is missed soon.
        rig.ok("network create --subnet 10.211.20.0/28 back");
        rig.ok("network create --subnet 10.211.21.0/28 front");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 -p 9090:90/udp busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        await_settled(rig, "before any kill");
        let mut dice = Dice(seed);
        for round in 0..kills {
            let last = round.saturating_sub(1);
            let mut lines = [
                format!("network connect back {}", if dice.roll(2) == 0 { "one" } else { "web" }),
                format!("network disconnect back {}", if dice.roll(2) == 0 { "one" } else { "web" }),
                format!(
                    "run -d --name r{round} --network front -p {}:80 busybox sleep 1000",
                    8100 + round % 50
                ),
                format!("run --rm --name s{round} --network back -p 8200:80 -p 8200:80/udp busybox true"),
                format!("rm -f r{last}"),
                format!("network create n{round}"),
                format!("network rm n{last}"),
            ];
            let first = dice.roll(lines.len() as u64) as usize;
            lines.rotate_left(first);
            let busy: Vec<_> = lines.iter().map(|line| rig.spawn(line)).collect();
            std::thread::sleep(Duration::from_millis(dice.roll(150)));
            rig.kill_engine();
            drop(busy);
            rig.start_engine();
            await_settled(rig, &format!("after kill {round}"));
            rig.cli(&format!("rm -f r{last}"));
        }
        rig.ok("exec web true");
        fetch(rig, 8080);
        rig.remove_all();
        await_settled(rig, "when all are gone");
        // Each address can be had again: 16 without the network's, the last, and the gateway.
        for number in 0..13 {
            rig.ok(&format!("run -d --name full{number} --network front busybox sleep 1000"));
        }
        rig.fails("run --rm --network front busybox true", 125, "no available");
    });
}

fn fetch(rig: &Rig, port: u16) {
    within(20, &format!("port {port} answers"), || {
        let output = rig.on_host(&["wget", "-q", "-O", "-", &format!("http://127.0.0.1:{port}/")]);
        (output.text() == "hello").then_some(())
    });
}

#[test]
fn two_engines_in_one_network_do_not_touch_each_other() {
    ours(|one| {
        let file = std::fs::File::open(format!("/proc/{}/ns/net", one.engine_pid())).expect("a namespace");
        let own = std::os::fd::AsRawFd::as_raw_fd(&file);
        let place = format!("--net=/proc/{}/fd/{own}", std::process::id());
        Rig::run_inside(Client::Minke, &["nsenter", &place], &[NETWORKS_HERE], |two| {
            for (rig, third, port) in [(one, 22, 8080), (two, 23, 8081)] {
                rig.ok(&format!("network create --subnet 10.211.{third}.0/24 front"));
                rig.ok(&format!("run -d --name web --network front -p {port}:80 busybox {SERVE}"));
                let web = rig.inspect("web")["NetworkSettings"]["Networks"]["front"]["IPAddress"].clone();
                let reach = format!("ping -c 1 -W 5 {} >/dev/null", web.as_str().unwrap_or_default());
                rig.ok(&format!(
                    "run -d --name ask --network front busybox sh -c \
                     'while :; do nslookup web >/dev/null && {reach} && echo hello || echo lost; sleep 0.02; done'"
                ));
                fetch(rig, port);
                rig.await_log("ask", "hello");
            }
            one.fails("run --rm --network bridge -p 8081:80 busybox true", 125, "8081");
            let before = two.inspect("web")["NetworkSettings"].clone();
            let mut stream = open(two, 8081);
            for _ in 0..5 {
                one.kill_engine();
                let missing = one.spawn("run --rm --network bridge busybox true");
                one.start_engine();
                drop(missing);
                talk(&mut stream);
                await_settled(one, "the one that was killed");
                await_settled(two, "the one beside it");
            }
            fetch(one, 8080);
            fetch(two, 8081);
            assert_eq!(two.inspect("web")["NetworkSettings"], before);
            let asked = two.ok("logs ask");
            assert!(asked.contains("hello") && !asked.contains("lost"), "{asked}");
            // And when everything of the one goes.
            one.remove_all();
            one.ok("network rm front");
            await_settled(two, "alone");
            talk(&mut stream);
        });
    });
}

/// A stream to a published port that is kept open: the page comes when its request is complete.
fn open(rig: &Rig, port: u16) -> TcpStream {
    let stream = in_network_of(rig.engine_pid(), move || TcpStream::connect(("127.0.0.1", port)));
    let stream = stream.expect("the port is connected to");
    stream.set_read_timeout(Some(minke_e2e::deadline::seconds(20))).expect("a time-out");
    stream
}

/// Sends a part of a request that never ends, which httpd takes as long as the stream is whole.
fn talk(stream: &mut TcpStream) {
    stream.write_all(b"x").expect("the stream is whole");
}

/// Echoes what it is sent.
const ECHO: &str = "sh -c 'nc -ll -p 80 -e cat'";

fn echo(stream: &mut TcpStream) {
    stream.write_all(b"there and back\n").expect("the stream takes it");
    let mut bytes = [0; 15];
    stream.read_exact(&mut bytes).expect("it comes back");
    assert_eq!(&bytes, b"there and back\n");
}

#[test]
fn a_restart_rewrites_nothing_and_streams_go_on() {
    let count = number_of("MINKE_E2E_PUBLISHED").unwrap_or(12);
    ours(|rig| {
        rig.ok("network create --subnet 10.211.24.0/24 front");
        at_once(
            rig,
            8,
            (0..count).map(|number| {
                let network = if number % 2 == 0 { "front" } else { "bridge" };
                format!("run -d --name c{number} --network {network} -p {}:80 busybox {ECHO}", 9000 + number)
            }),
        );
        let gateway = rig.inspect("c1")["NetworkSettings"]["Networks"]["bridge"]["Gateway"].clone();
        let gateway: std::net::IpAddr =
            gateway.as_str().and_then(|text| text.parse().ok()).expect("a gateway");
        // By localhost and by an address of the host, to containers of both networks.
        let pid = rig.engine_pid();
        let mut streams: Vec<TcpStream> = ["127.0.0.1".parse().expect("an address"), gateway]
            .into_iter()
            .flat_map(|host| [0, 1].map(|number| (host, 9000 + number)))
            .map(|at: (std::net::IpAddr, u16)| {
                within(20, "the port answers", || {
                    let mut stream = in_network_of(pid, move || TcpStream::connect(at)).ok()?;
                    stream.set_read_timeout(Some(minke_e2e::deadline::seconds(20))).ok()?;
                    stream.write_all(b"x").ok()?;
                    stream.read_exact(&mut [0]).ok()?;
                    Some(stream)
                })
            })
            .collect();
        await_settled(rig, "before the restart");
        within(20, "the kernel has its own addresses of links", || {
            (!rig.on_host(&["ip", "-o", "addr"]).text().contains("tentative")).then_some(())
        });
        for kill in [true, false] {
            let mut told = Notifications::listen(rig.engine_pid());
            if kill {
                rig.kill_engine()
            } else {
                rig.stop_engine()
            }
            streams.iter_mut().for_each(echo);
            rig.start_engine();
            streams.iter_mut().for_each(echo);
            await_settled(rig, "after the restart");
            assert_eq!(told.so_far(), Vec::<String>::new(), "what was right has been written again");
        }
    });
}

/// Runs lines, so many at a time; each has to succeed.
pub fn at_once(rig: &Rig, width: usize, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..width {
            scope.spawn(|| {
                while let Some(line) = lines.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    rig.ok(line);
                }
            });
        }
    });
}

/// How many containers are on one network: `MINKE_E2E_CROWD`.
#[test]
fn many_containers_share_a_network_and_know_each_other() {
    let count = number_of("MINKE_E2E_CROWD").unwrap_or(40);
    networked(|rig| {
        if rig.kind() == EngineKind::Minke && rig.client() == Client::Docker {
            return; // the same engine a second time
        }
        rig.ok("network create --subnet 10.211.32.0/23 crowd");
        rig.ok("run -d --name ask --network crowd busybox sleep 1000");
        at_once(
            rig,
            8,
            (0..count).map(|number| format!("run -d --name c{number} --network crowd busybox sleep 1000")),
        );
        let every: String = (0..count).map(|number| format!("c{number} ")).collect();
        let script =
            format!("for name in {every}; do nslookup $name >/dev/null || echo $name; done; echo done");
        assert_eq!(rig.ok(&format!("exec ask sh -c '{script}'")), "done", "every name is known");
        let back = rig.ok(&format!("exec c0 ping -c 1 -W 5 c{}", count - 1));
        assert!(back.contains("1 packets received"), "{back}");
        let members = rig.get("/networks/crowd").json()["Containers"].as_object().map(|all| all.len());
        assert_eq!(members, Some(count as usize + 1));
        if rig.kind() == EngineKind::Minke {
            await_settled(rig, "with all of them");
        }
        at_once(rig, 8, (0..count).map(|number| format!("rm -f c{number}")));
        let members = rig.get("/networks/crowd").json()["Containers"].as_object().map(|all| all.len());
        assert_eq!(members, Some(1));
        assert_ne!(rig.cli("exec ask nslookup c0").code, 0, "its name went with it");
    });
}
