//! Networks: starts on the default bridge, with a published port and on a network of one's own; bytes, connections and names.
//!
//! Servers and clients are threads of this program that go into a container's network namespace (or an outsider's), so that
//! what is measured is the way between them, and not a program in an image.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use minke_e2e::process::enter_network;

use crate::bench::{Bar, Contender, Row, Stage, medians, timed};
use crate::run;

/// How long bytes, connections and questions are counted.
const COUNTED: Duration = Duration::from_secs(1);
/// How many containers start for the fleet, and how many at a time.
const FLEET: (usize, usize) = (50, 8);
/// The port that servers listen at.
const INNER: u16 = 7000;
/// The port of the host that is published.
const OUTER: u16 = 18_080;
/// Where the outsider is, and how it knows this host.
const OUTSIDE: (&str, &str) = ("198.51.100.2/24", "198.51.100.1");
const SLEEP: &str = "busybox sleep 100000";

/// A name, and what makes a command of a line.
type Side<'a> = (&'static str, Box<dyn Fn(&str) -> Command + 'a>);

fn sides(stage: &Stage) -> [Side<'_>; 3] {
    [
        ("minke", Box::new(|line: &str| stage.own(line))),
        ("docker", Box::new(|line: &str| stage.docker(line))),
        ("podman", Box::new(|line: &str| stage.podman(line))),
    ]
}

/// `run --rm` on networks, and many at once.
pub fn starts(stage: &mut Stage) -> Result<Vec<Row>> {
    for (_, side) in sides(stage) {
        timed(&mut side("network create bench"))?;
    }
    let once = |what: &str, line: &str| -> Result<Row> {
        let sides = sides(stage);
        let mut contenders: Vec<Contender<'_>> = Vec::new();
        for (name, side) in &sides {
            contenders.push((name, Box::new(move || Ok(timed(&mut side(line))?.as_secs_f64() * 1000.0))));
        }
        let bar = Bar::Shares(vec![(1, 1.0 / 20.0), (2, 1.0 / 20.0)]);
        Ok(Row { what: format!("{what}, ms"), figures: medians(20, &mut contenders)?, bar })
    };
    let rows = vec![
        once("`run --rm` on the default bridge", "run --rm --network bridge busybox true")?,
        once("`run --rm -p 18080:80`", "run --rm --network bridge -p 18080:80 busybox true")?,
        once("`run --rm` on a network of its own", "run --rm --network bench busybox true")?,
        fleet(stage)?,
    ];
    for (_, side) in sides(stage) {
        timed(&mut side("network rm bench"))?;
    }
    Ok(rows)
}

fn fleet(stage: &Stage) -> Result<Row> {
    let rate = |side: &(dyn Fn(&str) -> Command + Sync)| -> Result<f64> {
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        std::thread::scope(|scope| {
            let starters: Vec<_> = (0..FLEET.1)
                .map(|_| {
                    scope.spawn(|| -> Result<()> {
                        while next.fetch_add(1, Ordering::Relaxed) < FLEET.0 {
                            timed(&mut side(&format!("run -d --network bridge {SLEEP}")))?;
                        }
                        Ok(())
                    })
                })
                .collect();
            starters.into_iter().try_for_each(|one| one.join().map_err(|_| anyhow!("a starter panicked"))?)
        })?;
        let taken = start.elapsed();
        stage.clear()?;
        Ok(FLEET.0 as f64 / taken.as_secs_f64())
    };
    let mut contenders: Vec<Contender<'_>> = vec![
        ("minke", Box::new(|| rate(&|line| stage.own(line)))),
        ("docker", Box::new(|| rate(&|line| stage.docker(line)))),
    ];
    let figures = medians(2, &mut contenders)?;
    Ok(Row {
        what: "containers on the default bridge started, 8 at a time, per second".into(),
        figures,
        bar: Bar::Times(vec![(1, 8.0)]),
    })
}

/// One engine's two containers on a network, the first with a published port.
struct Pair {
    name: &'static str,
    /// The pids that are in their network namespaces.
    pids: [i32; 2],
    /// The first one's address.
    address: IpAddr,
    outer: u16,
}

/// Bytes, connections and names between containers, this host and an outsider.
pub fn traffic(stage: &mut Stage) -> Result<Vec<Row>> {
    let outsider = Outsider::new()?;
    let mut pairs = Vec::new();
    for (number, (name, side)) in sides(stage).into_iter().enumerate() {
        let outer = OUTER + number as u16;
        timed(&mut side("network create bench"))?;
        timed(&mut side(&format!("run -d --name bench0 --network bench -p {outer}:{INNER} {SLEEP}")))?;
        timed(&mut side(&format!("run -d --name bench1 --network bench {SLEEP}")))?;
        let ask = |format: &str, container: &str| -> Result<String> {
            let text = run::output(&mut side(&format!("inspect --format {format} {container}")))?;
            Ok(text.trim().to_string())
        };
        let pid = |container: &str| -> Result<i32> { Ok(ask("{{.State.Pid}}", container)?.parse()?) };
        let address = ask("{{(index.NetworkSettings.Networks.bench).IPAddress}}", "bench0")
            .or_else(|_| ask("{{.NetworkSettings.Networks.bench.IPAddress}}", "bench0"))?;
        pairs.push(Pair {
            name,
            pids: [pid("bench0")?, pid("bench1")?],
            address: address.parse().with_context(|| format!("an address: {address:?}"))?,
            outer,
        });
    }
    let outside: IpAddr = OUTSIDE.1.parse()?;
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    type From<'a> = &'a (dyn Fn(&Pair) -> (Option<i32>, SocketAddr) + Sync);
    let inside: From<'_> = &|pair| (Some(pair.pids[1]), SocketAddr::new(pair.address, INNER));
    let outer: From<'_> = &|pair| (Some(outsider.pid()), SocketAddr::new(outside, pair.outer));
    let host: From<'_> = &|pair| (None, SocketAddr::new(outside, pair.outer));
    let loopback: From<'_> = &|pair| (None, SocketAddr::new(local, pair.outer));
    let mut rows = Vec::new();
    let peers = || Bar::Times(vec![(1, 1.0), (2, 1.0)]);
    for (what, from, bar) in [
        ("bytes between containers, MB/s", inside, peers()),
        ("bytes through a published port from outside, MB/s", outer, peers()),
        ("bytes through a published port by a local address, MB/s", host, peers()),
        ("bytes through a published port by 127.0.0.1, MB/s", loopback, peers()),
    ] {
        rows.push(Row {
            what: what.into(),
            figures: in_turns(&pairs, &|pair| bytes(pair, from(pair)))?,
            bar,
        });
    }
    for (what, from, bar) in [
        ("connections through a published port from outside, per second", outer, Bar::Times(vec![(1, 1.0)])),
        (
            "connections through a published port by 127.0.0.1, per second",
            loopback,
            Bar::Times(vec![(2, 1.0)]),
        ),
    ] {
        let figures = in_turns(&pairs, &|pair| connections(pair, from(pair)))?;
        rows.push(Row { what: what.into(), figures, bar });
    }
    let with_resolver = &pairs[..2]; // podman's answers at another address
    rows.push(Row {
        what: "names of containers asked for, per second".into(),
        figures: in_turns(with_resolver, &questions)?,
        bar: Bar::Times(vec![(1, 1.2)]),
    });
    stage.clear()?;
    for (_, side) in sides(stage) {
        timed(&mut side("network rm bench"))?;
    }
    Ok(rows)
}

fn in_turns(pairs: &[Pair], measure: &dyn Fn(&Pair) -> Result<f64>) -> Result<Vec<(String, f64)>> {
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for pair in pairs {
        contenders.push((pair.name, Box::new(move || measure(pair))));
    }
    medians(3, &mut contenders)
}

/// Runs `work` on a thread in the network namespace of a process, or in this one's.
fn within<T: Send>(pid: Option<i32>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(pid) = pid {
                enter_network(pid)?;
            }
            work()
        });
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    })
}

/// Lets a server take connections in the first container while `client` works.
fn beside<T: Send>(
    pair: &Pair,
    serve: impl Fn(TcpStream) + Sync,
    client: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let listener = within(Some(pair.pids[0]), || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, INNER)).context("a server in the container")
    })?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok((stream, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                serve(stream);
            }
        });
        let done = client();
        over.store(true, Ordering::Relaxed);
        // One more, so that it looks.
        let last = within(Some(pair.pids[0]), || Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, INNER))?));
        done.and_then(|done| last.map(|_| done))
    })
}

fn bytes(pair: &Pair, (from, to): (Option<i32>, SocketAddr)) -> Result<f64> {
    let drain = |mut stream: TcpStream| {
        let mut buffer = vec![0; 256 * 1024];
        while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
    };
    beside(pair, drain, || {
        within(from, || {
            let mut stream = TcpStream::connect(to).with_context(|| format!("{}: {to}", pair.name))?;
            let (block, start, mut sent) = (vec![0; 256 * 1024], Instant::now(), 0);
            while start.elapsed() < COUNTED {
                sent += stream.write(&block)?;
            }
            Ok(sent as f64 / 1e6 / start.elapsed().as_secs_f64())
        })
    })
}

fn connections(pair: &Pair, (from, to): (Option<i32>, SocketAddr)) -> Result<f64> {
    let greet = |mut stream: TcpStream| drop(stream.write_all(b"x"));
    beside(pair, greet, || {
        within(from, || {
            let (start, mut count) = (Instant::now(), 0);
            while start.elapsed() < COUNTED {
                let mut stream = TcpStream::connect(to).with_context(|| format!("{}: {to}", pair.name))?;
                stream.read_exact(&mut [0])?;
                count += 1;
            }
            Ok(f64::from(count) / start.elapsed().as_secs_f64())
        })
    })
}

/// Asks in the second container for the first one's address, one question after the other.
fn questions(pair: &Pair) -> Result<f64> {
    let mut question = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(b"\x06bench0\x00\x00\x01\x00\x01");
    within(Some(pair.pids[1]), || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.connect((Ipv4Addr::new(127, 0, 0, 11), 53))?;
        let (start, mut count, mut answer) = (Instant::now(), 0u16, [0; 512]);
        while start.elapsed() < COUNTED {
            count = count.wrapping_add(1);
            question[..2].copy_from_slice(&count.to_be_bytes());
            socket.send(&question)?;
            let length = socket.recv(&mut answer).with_context(|| format!("{} answers a name", pair.name))?;
            if length < 16 || answer[7] != 1 {
                bail!("{}: no address for bench0: {:?}", pair.name, &answer[..length]);
            }
        }
        Ok(f64::from(count) / start.elapsed().as_secs_f64())
    })
}

/// Somebody on another host: a network namespace with one cable to this one.
struct Outsider(std::process::Child);

impl Outsider {
    fn new() -> Result<Self> {
        let child = Command::new("unshare").args(["--net", "sleep", "100000"]).spawn()?;
        let outsider = Self(child);
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let path = format!("/proc/{}/ns/net", outsider.pid());
        minke_e2e::within(5, "the outsider has a network", || {
            std::fs::read_link(&path).ok().filter(|namespace| *namespace != own)
        });
        File::open(&path)?;
        let pid = outsider.pid();
        for line in [
            format!("ip link add outside0 type veth peer name outside1 netns {pid}"),
            format!("ip address add {}/24 dev outside0", OUTSIDE.1),
            "ip link set outside0 up".to_string(),
            format!("nsenter -t {pid} -n ip address add {} dev outside1", OUTSIDE.0),
            format!("nsenter -t {pid} -n ip link set outside1 up"),
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            timed(Command::new(words[0]).args(&words[1..]))?;
        }
        Ok(outsider)
    }

    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
