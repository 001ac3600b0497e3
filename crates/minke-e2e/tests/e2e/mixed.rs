//! A random mixture of everything, by a seed: three users of one engine, each with a model of what it should find, while
//! the engine and shims are killed. In the last third only shims are, and what the engine and the shim of a container that
//! lives all along hold while idle may not grow.
//!
//! `MINKE_E2E_MIXED_S` says for how many seconds (default 120), `MINKE_E2E_SEED` repeats a run's choices.

mod files;
mod flat;
mod old;
mod volumes;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use minke_e2e::cli::Output;
use minke_e2e::{Client, Rig, process, within};
use rustix::process::Signal;

/// Containers of each user.
const SLOTS: usize = 3;

/// Counts up, and says by `exit 7` that it was asked to end.
const COUNTER: &str = "trap \"exit 7\" TERM; i=0; while :; do echo $i; i=$((i+1)); sleep 0.03; done";

/// A generator of numbers that a failed run can be repeated with.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// What a user believes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    Absent,
    Created,
    Running,
    Paused,
    Exited,
}

impl Belief {
    /// The word of `inspect`.
    fn status(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
        }
    }

    fn of(status: &str) -> Self {
        let all = [Self::Absent, Self::Created, Self::Running, Self::Paused];
        all.into_iter().find(|belief| belief.status() == status).unwrap_or(Self::Exited)
    }
}

/// What changes a container's state: the verb's flags, and what comes of it; `None`: it is refused.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Start,
    Stop,
    Kill,
    Restart,
    Pause,
    Unpause,
    Remove,
}

impl Change {
    const ALL: [Self; 8] = [
        Self::Create,
        Self::Start,
        Self::Stop,
        Self::Kill,
        Self::Restart,
        Self::Pause,
        Self::Unpause,
        Self::Remove,
    ];

    /// The state after it; `None` where the engine has to refuse.
    fn outcome(self, before: Belief) -> Option<Belief> {
        use Belief::*;
        match (self, before) {
            (Self::Create, Absent) => Some(Created),
            (Self::Create, _) | (_, Absent) => None,
            (Self::Start, Created | Exited | Running) => Some(Running),
            (Self::Stop, Running | Paused) => Some(Exited),
            (Self::Stop, Created | Exited) => Some(before),
            (Self::Kill, Running | Paused) => Some(Exited),
            (Self::Restart, _) => Some(Running),
            (Self::Pause, Running) => Some(Paused),
            (Self::Unpause, Paused) => Some(Running),
            (Self::Remove, _) => Some(Absent),
            _ => None,
        }
    }

    fn line(self, user: usize, name: &str) -> String {
        match self {
            Self::Create => format!(
                "create --name {name} --label user={user} --memory 64m --health-cmd true --health-interval 300ms \
                 -v volume{user}:/v busybox sh -c '{COUNTER}'"
            ),
            Self::Start => format!("start {name}"),
            Self::Stop => format!("stop -t 20 {name}"),
            Self::Kill => format!("kill {name}"),
            Self::Restart => format!("restart -t 0 {name}"),
            Self::Pause => format!("pause {name}"),
            Self::Unpause => format!("unpause {name}"),
            Self::Remove => format!("rm -f {name}"),
        }
    }
}

/// The engine, and how often something of it was killed: odd while it is down.
struct Stage<'a> {
    rig: &'a Rig,
    kills: AtomicU64,
    shim_kills: AtomicU64,
    /// The shim that nobody kills: the old container's.
    spared: i32,
    engine_dies: bool,
    trouble: Mutex<Option<String>>,
    /// One prune at a time, as Docker wants it.
    prune: Mutex<()>,
    end: Instant,
}

impl Stage<'_> {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end && self.trouble.lock().is_ok_and(|trouble| trouble.is_none())
    }

    /// Kills the engine, or one shim, again and again.
    fn kill_at_random(&self, mut dice: Dice) {
        while self.goes_on() {
            std::thread::sleep(Duration::from_millis(1000 + dice.roll(4000) as u64));
            if self.engine_dies && dice.roll(3) > 0 {
                self.kills.fetch_add(1, Ordering::SeqCst);
                self.rig.kill_engine();
                self.rig.start_engine();
                self.kills.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let processes = self.rig.marks().processes();
            let is_shim = |pid: &i32| *pid != self.spared && process::program(*pid) == "minke-shim";
            let shims: Vec<i32> = processes.into_iter().filter(is_shim).collect();
            if !shims.is_empty() {
                self.shim_kills.fetch_add(1, Ordering::SeqCst);
                process::signal(shims[dice.roll(shims.len())], Signal::KILL);
            }
        }
    }
}

/// One user: its containers, and what it believes of them.
struct User<'a> {
    stage: &'a Stage<'a>,
    number: usize,
    dice: Dice,
    beliefs: [Belief; SLOTS],
    /// What it wrote last into its volume.
    written: Option<usize>,
    seen_kills: u64,
    seen_shim_kills: u64,
    done: usize,
}

impl User<'_> {
    fn name(&self, slot: usize) -> String {
        format!("u{}c{slot}", self.number)
    }

    fn run(mut self) -> usize {
        while self.stage.goes_on() {
            self.settle(&[]);
            let slot = self.dice.roll(SLOTS);
            match self.dice.roll(12) {
                0..=4 => self.change(slot),
                5 => self.speak(slot),
                6 => self.read_log(slot),
                7 => self.copy(slot),
                8 => self.adjust(slot),
                9 => self.visit_old(),
                10 => self.use_volumes(),
                _ => self.look_around(slot),
            }
            self.done += 1;
        }
        self.done
    }

    /// Runs a line; `None` where something was killed meanwhile, so that its outcome says nothing.
    fn sure(&mut self, line: &str) -> Option<Output> {
        let output = self.stage.rig.cli(line);
        let calm = self.stage.kills.load(Ordering::SeqCst) == self.seen_kills
            && self.stage.shim_kills.load(Ordering::SeqCst) == self.seen_shim_kills;
        calm.then_some(output)
    }

    fn expect(&self, good: bool, line: &str, output: &Output) {
        assert_eq!(
            output.code == 0,
            good,
            "user {}: {line}\nbeliefs {:?}\n{}{}",
            self.number,
            self.beliefs,
            output.text(),
            output.stderr
        );
    }

    fn change(&mut self, slot: usize) {
        let change = Change::ALL[self.dice.roll(Change::ALL.len())];
        let line = change.line(self.number, &self.name(slot));
        match self.sure(&line) {
            Some(output) => {
                let after = change.outcome(self.beliefs[slot]);
                self.expect(after.is_some() || matches!(change, Change::Remove), &line, &output);
                self.beliefs[slot] = after.unwrap_or(self.beliefs[slot]);
                self.check(slot);
            }
            None => self.settle(&[slot]),
        }
    }

    /// An exec answers, and what it writes into the volume is there for another container.
    fn speak(&mut self, slot: usize) {
        let (name, word) = (self.name(slot), self.dice.roll(100_000));
        let line = format!("exec {name} sh -c 'echo {word} > /v/word; echo {word}'");
        let Some(output) = self.sure(&line) else {
            self.written = None;
            return;
        };
        let running = self.beliefs[slot] == Belief::Running;
        self.expect(running, &line, &output);
        if running {
            assert_eq!(output.text(), word.to_string());
            self.written = Some(word);
        }
        let line = format!("run --rm -v volume{}:/v busybox cat /v/word", self.number);
        if let (Some(word), Some(output)) = (self.written, self.sure(&line)) {
            assert_eq!((output.code, output.text()), (0, word.to_string()), "{}", output.stderr);
        }
    }

    /// The log counts up, from 0 at each start.
    fn read_log(&mut self, slot: usize) {
        let line = format!("logs {}", self.name(slot));
        let Some(output) = self.sure(&line) else { return };
        self.expect(self.beliefs[slot] != Belief::Absent, &line, &output);
        let text = output.text();
        let numbers: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(numbers.len(), text.lines().count(), "{line}: {text}");
        if output.code == 0 {
            let counts = |pair: &[u64]| pair[1] == pair[0] + 1 || pair[1] == 0;
            assert!(numbers.windows(2).all(counts), "{line}: {text}");
        }
    }

    /// A limit is changed, and stays so.
    fn adjust(&mut self, slot: usize) {
        let (name, megabytes) = (self.name(slot), 64 + self.dice.roll(64));
        let line = format!("update --memory {megabytes}m --memory-swap -1 {name}");
        let Some(output) = self.sure(&line) else { return };
        let there = self.beliefs[slot] != Belief::Absent;
        self.expect(there, &line, &output);
        let line = format!("inspect --format {{{{.HostConfig.Memory}}}} {name}");
        if let (true, Some(output)) = (there, self.sure(&line)) {
            assert_eq!(output.text(), (megabytes << 20).to_string());
        }
    }

    /// Lists, follows, prunes: what only reads, and what takes away what nobody needs.
    fn look_around(&mut self, slot: usize) {
        match self.dice.roll(4) {
            0 => {
                let line = format!("ps -a --filter label=user={} --format {{{{.Names}}}}", self.number);
                let Some(output) = self.sure(&line) else { return };
                let there = self.beliefs.iter().filter(|belief| **belief != Belief::Absent).count();
                // Containers of a committed image have its labels.
                let (text, own) = (output.text(), format!("u{}c", self.number));
                let listed = text.lines().filter(|name| name.starts_with(&own)).count();
                assert_eq!(listed, there, "{:?}: {text}", self.beliefs);
            }
            1 => {
                let line = format!("container prune -f --filter label=user={}", self.number);
                let output = {
                    let _alone = self.stage.prune.lock();
                    self.sure(&line)
                };
                let idle = |belief: Belief| matches!(belief, Belief::Created | Belief::Exited);
                let pruned: Vec<usize> = (0..SLOTS).filter(|slot| idle(self.beliefs[*slot])).collect();
                match output {
                    Some(output) => {
                        self.expect(true, &line, &output);
                        pruned.into_iter().for_each(|slot| self.beliefs[slot] = Belief::Absent);
                    }
                    // Any of them may be gone.
                    None => self.settle(&pruned),
                }
            }
            2 => {
                let Some(output) = self.sure("system df") else { return };
                self.expect(true, "system df", &output);
            }
            _ if self.beliefs[slot] == Belief::Running => {
                let session =
                    self.stage.rig.spawn(&format!("attach --no-stdin --sig-proxy=false {}", self.name(slot)));
                within(20, "lines are seen, or the container is gone", || {
                    (session.so_far().lines().count() > 3 || !process::is_alive(session.pid())).then_some(())
                });
                let numbers: Vec<u64> =
                    session.so_far().lines().filter_map(|line| line.parse().ok()).collect();
                assert!(numbers.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{numbers:?}");
            }
            _ => {}
        }
    }

    /// What `inspect` says is what is believed.
    fn check(&mut self, slot: usize) {
        let found = self.status(slot);
        let calm = self.stage.shim_kills.load(Ordering::SeqCst) == self.seen_shim_kills;
        if let (Some(found), true) = (found, calm) {
            assert_eq!(found, self.beliefs[slot], "{}", self.name(slot));
        }
    }

    /// The state that the engine tells; `None` while it is down.
    fn status(&self, slot: usize) -> Option<Belief> {
        let path = format!("/containers/{}/json", self.name(slot));
        let answer = minke_e2e::http::request(self.stage.rig.socket(), "GET", &path, "", &[]).ok()?;
        match answer.status {
            200 => Some(Belief::of(answer.json()["State"]["Status"].as_str().unwrap_or_default())),
            404 => Some(Belief::Absent),
            _ => None,
        }
    }

    /// After a kill: learns what became of `unsure`, and checks that all else is as it was; what ran may have ended
    /// where a shim was killed.
    fn settle(&mut self, unsure: &[usize]) {
        loop {
            let kills = self.stage.kills.load(Ordering::SeqCst);
            let shim_kills = self.stage.shim_kills.load(Ordering::SeqCst);
            if unsure.is_empty() && (kills, shim_kills) == (self.seen_kills, self.seen_shim_kills) {
                return;
            }
            if !kills.is_multiple_of(2) {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            let shims_died = shim_kills != self.seen_shim_kills;
            let found: Option<Vec<Belief>> = (0..SLOTS).map(|slot| self.settled(slot)).collect();
            let calm = self.stage.kills.load(Ordering::SeqCst) == kills
                && self.stage.shim_kills.load(Ordering::SeqCst) == shim_kills;
            let (Some(found), true) = (found, calm) else { continue };
            for (slot, found) in found.into_iter().enumerate() {
                let before = self.beliefs[slot];
                let ended = shims_died
                    && matches!(before, Belief::Running | Belief::Paused)
                    && found == Belief::Exited;
                assert!(
                    found == before || ended || unsure.contains(&slot),
                    "{}: {before:?} became {found:?} by a kill",
                    self.name(slot)
                );
                self.beliefs[slot] = found;
            }
            (self.seen_kills, self.seen_shim_kills) = (kills, shim_kills);
            return;
        }
    }

    /// The state once nothing is under way any more: a wish of before a kill may still be carried out.
    fn settled(&self, slot: usize) -> Option<Belief> {
        let mut last = self.status(slot)?;
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(300) {
            std::thread::sleep(Duration::from_millis(20));
            let now = self.status(slot)?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Some(last)
    }
}

fn number_of(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What the users did, and how often something was killed meanwhile.
struct Done {
    operations: usize,
    kills: u64,
    shim_kills: u64,
}

impl std::fmt::Display for Done {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { operations, kills, shim_kills } = self;
        write!(out, "{operations} operations, {kills} kills of the engine, {shim_kills} of shims")
    }
}

/// Lets three users and the killer loose for `length`; at the end all containers but the old one are removed.
fn play(rig: &Rig, seed: u64, length: Duration, engine_dies: bool) -> Done {
    let stage = Stage {
        rig,
        kills: AtomicU64::new(0),
        shim_kills: AtomicU64::new(0),
        spared: flat::shim(rig),
        engine_dies,
        trouble: Mutex::new(None),
        prune: Mutex::new(()),
        end: Instant::now() + length,
    };
    let stage = &stage;
    let operations: usize = std::thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|number| {
                let user = User {
                    stage,
                    number,
                    dice: Dice(seed.wrapping_add(number as u64 * 7919)),
                    beliefs: [Belief::Absent; SLOTS],
                    written: None,
                    seen_kills: 0,
                    seen_shim_kills: 0,
                    done: 0,
                };
                scope.spawn(move || {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| user.run()));
                    if outcome.is_err() {
                        *stage.trouble.lock().expect("no one panics with it held") =
                            Some(format!("user {number}"));
                    }
                    outcome
                })
            })
            .collect();
        stage.kill_at_random(Dice(seed ^ 0xdead));
        let outcomes = users.into_iter().map(|user| user.join().expect("panics are caught"));
        outcomes.map(|outcome| outcome.unwrap_or_else(|cause| std::panic::resume_unwind(cause))).sum()
    });
    rig.remove_all_but(&[flat::OLD]);
    let (kills, shim_kills) =
        (stage.kills.load(Ordering::SeqCst) / 2, stage.shim_kills.load(Ordering::SeqCst));
    Done { operations, kills, shim_kills }
}

#[test]
fn everything_at_once_for_two_minutes() {
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = number_of("MINKE_E2E_SEED").unwrap_or(clock.map_or(1, |time| u64::from(time.subsec_nanos())));
    let length = Duration::from_secs(number_of("MINKE_E2E_MIXED_S").unwrap_or(120));
    eprintln!("MINKE_E2E_SEED={seed}");
    Rig::run(Client::Minke, &[], |rig| {
        old::start(rig);
        let wild = play(rig, seed, length * 2 / 3, true);
        eprintln!("at first: {wild}");
        old::is_well(rig);
        rig.kill_engine();
        rig.start_engine();
        let first = flat::Idle::at_first(rig);
        let warm_up = play(rig, seed ^ 0x1111, length / 9, false);
        let warm = first.again(rig);
        let calm = play(rig, seed ^ 0x2222, length * 2 / 9, false);
        let last = first.again(rig);
        eprintln!("then: {warm_up}; {calm}\n  first {first:?}\n  warm {warm:?}\n  last {last:?}");
        warm.has_not_grown(first, last);
        old::is_well(rig);
        let operations = wild.operations + warm_up.operations + calm.operations;
        assert!(operations > 30, "{operations} operations only");
    });
}
