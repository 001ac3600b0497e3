//! The chains of iptables, which are asked beside ours: where they would drop what we let through, one rule is put there by the
//! tool that owns them, on the mark that our chain sets, so that it prints and restores it unchanged. And `DOCKER-USER`, which
//! people's scripts put rules into, is there and comes first. A tool runs when the engine starts and when somebody changed
//! something, never when a container starts.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use minke_model::error::Context;
use minke_model::{Error, Result};

use super::frame::ALLOWED_MARK;
use super::wanted::Families;
use crate::link::within;

/// The chain of people's scripts.
pub(super) const USERS: &str = "DOCKER-USER";

/// The tools of the host, and the network namespace whose chains they are to change.
#[derive(Debug)]
pub(super) struct Tools {
    namespace: OwnedFd,
    tools: Vec<Tool>,
}

#[derive(Debug)]
struct Tool {
    program: PathBuf,
    v6: bool,
    /// Of the older kind, beside a tool of the newer one: it is asked where there are rules of that kind.
    older: bool,
}

impl Tools {
    /// Looks for them, for the calling thread's network namespace.
    pub(super) fn find(families: Families) -> Result<Self> {
        let namespace = std::fs::File::open("/proc/thread-self/ns/net")
            .context("failed to open the network namespace")?;
        let mut tools = Vec::new();
        for (name, v6, wanted) in [("iptables", false, families.v4), ("ip6tables", true, families.v6)] {
            if !wanted {
                continue;
            }
            let default = find(name);
            let legacy = find(&format!("{name}-legacy")).filter(|program| {
                default.as_ref().is_none_or(|other| program.canonicalize().ok() != other.canonicalize().ok())
            });
            tools.extend(default.map(|program| Tool { program, v6, older: false }));
            tools.extend(legacy.map(|program| Tool { program, v6, older: true }));
        }
        Ok(Self { namespace: namespace.into(), tools })
    }

    /// Brings the chains in order; returns for which families packets are to be marked, and whether `chain` is among what is found.
    pub(super) fn ensure(&self, chain: &str) -> Result<(Families, bool)> {
        if self.tools.is_empty() {
            return Ok(<_>::default());
        }
        let made = format!("-N {chain}");
        within(self.namespace.as_fd(), || {
            let mut marked = Families::default();
            let mut found = false;
            for tool in self.tools.iter().filter(|tool| tool.is_asked()) {
                let listing = tool.run(&["-S"])?;
                found |= listing.lines().any(|line| line == made);
                let steps = plan(&listing);
                for step in &steps.steps {
                    tool.run(&step.iter().map(String::as_str).collect::<Vec<_>>())?;
                }
                if tool.v6 { marked.v6 |= steps.marked } else { marked.v4 |= steps.marked }
            }
            Ok((marked, found))
        })?
    }

    /// Takes back what was put into the chains, but for what somebody else needs: other engines of ours where there are such,
    /// dockerd, people's own rules.
    pub(super) fn leave(&self, others: bool) -> Result<()> {
        within(self.namespace.as_fd(), || {
            for tool in self.tools.iter().filter(|tool| tool.is_asked()) {
                for step in plan_leave(&tool.run(&["-S"])?, others) {
                    tool.run(&step.split(' ').collect::<Vec<_>>())?;
                }
            }
            Ok(())
        })?
    }
}

impl Tool {
    fn is_asked(&self) -> bool {
        !self.older || has_legacy_tables(self.v6)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let words = || format!("failed to run {} {}", self.program.display(), arguments.join(" "));
        let output = Command::new(&self.program)
            .args(["-w", "5", "-t", "filter"])
            .args(arguments)
            .output()
            .with_context(words)?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_string();
            return Err(Error::system(words()).with_source(reason));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Looks for a program of the host.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(usual)
        .map(|folder| folder.join(name))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn has_legacy_tables(v6: bool) -> bool {
    let file = if v6 { "ip6_tables_names" } else { "ip_tables_names" };
    std::fs::read_to_string(format!("/proc/thread-self/net/{file}"))
        .is_ok_and(|names| names.lines().any(|name| name == "filter"))
}

/// What is done to the chains.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Arguments of the tool, one after the other.
    steps: Vec<Vec<String>>,
    /// Whether packets are to be marked.
    marked: bool,
}

fn mark_rule() -> String {
    format!("-m mark --mark {ALLOWED_MARK:#x}/{ALLOWED_MARK:#x} -j ACCEPT")
}

/// Decides what is taken back: arguments of the tool. The mark stays for `others`, engines of ours with a table; the users' chain
/// for anybody who may look for it.
fn plan_leave(listing: &str, others: bool) -> Vec<String> {
    let (mark, users) = (format!("-A FORWARD {}", mark_rule()), format!("-A FORWARD -j {USERS}"));
    let mut steps = Vec::new();
    if others {
        return steps;
    }
    let has = |wanted: &str| listing.lines().any(|line| line.trim() == wanted);
    if has(&mark) {
        steps.push(format!("-D FORWARD {}", mark_rule()));
    }
    let needs_it =
        |chain: &str| chain != USERS && (chain.starts_with("DOCKER") || chain.starts_with("MINKE"));
    let chains = listing.lines().filter_map(|line| line.strip_prefix("-N "));
    let is_used = listing.lines().any(|line| {
        line.starts_with(&format!("-A {USERS} ")) && line.trim() != format!("-A {USERS} -j RETURN")
            || line.trim() != users && line.ends_with(&format!("-j {USERS}"))
    });
    if has(&users) && !is_used && !chains.map(str::trim).any(needs_it) {
        steps.extend([format!("-D FORWARD -j {USERS}"), format!("-F {USERS}"), format!("-X {USERS}")]);
    }
    steps
}

/// Decides from what `iptables -S` prints. Rules of others stay as they are.
fn plan(listing: &str) -> Plan {
    let mark_rule = mark_rule();
    let users_rule = format!("-j {USERS}");
    let mut rules: Vec<&str> =
        listing.lines().filter_map(|line| line.strip_prefix("-A FORWARD ")).map(str::trim).collect();
    let policy_drops = listing.lines().any(|line| line == "-P FORWARD DROP");
    let mut steps = Vec::new();
    let mut step = |text: String| steps.push(text.split(' ').map(str::to_string).collect());
    if !listing.lines().any(|line| line == format!("-N {USERS}")) {
        step(format!("-N {USERS}"));
    }
    if !rules.contains(&users_rule.as_str()) {
        step(format!("-I FORWARD 1 {users_rule}"));
        rules.insert(0, &users_rule);
    }
    let is_ours = |rule: &&str| **rule == mark_rule || **rule == users_rule;
    let marked = policy_drops || rules.iter().any(|rule| !is_ours(rule));
    let users = rules.iter().position(|rule| *rule == users_rule).unwrap_or(0);
    let found = rules.iter().position(|rule| *rule == mark_rule);
    match found {
        // Right behind: neither passes it the users' chain, nor does anything drop before.
        Some(at) if marked && at == users + 1 => {}
        None if !marked => {}
        _ => {
            if found.is_some() {
                step(format!("-D FORWARD {mark_rule}"));
            }
            if marked {
                let place = users + 2 - usize::from(found.is_some_and(|at| at < users));
                step(format!("-I FORWARD {place} {mark_rule}"));
            }
        }
    }
    Plan { steps, marked }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(listing: &str) -> (Vec<String>, bool) {
        let plan = plan(listing);
        (plan.steps.iter().map(|step| step.join(" ")).collect(), plan.marked)
    }

    const ACCEPT: &str = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n";
    const DROP: &str = "-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n";
    const USERS: &str = "-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n";
    const MARK: &str = "-A FORWARD -m mark --mark 0x1000000/0x1000000 -j ACCEPT\n";

    #[test]
    fn the_users_chain_is_there_and_nothing_else_where_nothing_is_dropped() {
        let made = ["-N DOCKER-USER", "-I FORWARD 1 -j DOCKER-USER"].map(str::to_string).to_vec();
        assert_eq!(steps(ACCEPT), (made, false));
        assert_eq!(steps(&format!("{ACCEPT}{USERS}")), (vec![], false));
    }

    #[test]
    fn where_the_policy_drops_marked_packets_pass_behind_the_users_chain() {
        let (made, marked) = steps(DROP);
        assert!(marked);
        assert_eq!(made[2], "-I FORWARD 2 -m mark --mark 0x1000000/0x1000000 -j ACCEPT");
        assert_eq!(steps(&format!("{DROP}{USERS}{MARK}")), (vec![], true));
    }

    #[test]
    fn a_rule_that_somebody_put_between_is_stepped_over() {
        let between = format!("{DROP}{USERS}-A FORWARD -j ufw-before-forward\n{MARK}");
        let (made, _) = steps(&between);
        assert_eq!(made[0], "-D FORWARD -m mark --mark 0x1000000/0x1000000 -j ACCEPT");
        assert_eq!(made[1], "-I FORWARD 2 -m mark --mark 0x1000000/0x1000000 -j ACCEPT");
        let before = format!("{DROP}{MARK}{USERS}");
        assert_eq!(steps(&before).0[1], "-I FORWARD 2 -m mark --mark 0x1000000/0x1000000 -j ACCEPT");
    }

    #[test]
    fn at_the_end_only_what_somebody_needs_stays() {
        let all = format!("{DROP}-N DOCKER-USER\n{}{MARK}", "-A FORWARD -j DOCKER-USER\n");
        let mark = "-D FORWARD -m mark --mark 0x1000000/0x1000000 -j ACCEPT";
        let leave = |listing: &str| plan_leave(listing, false);
        assert_eq!(leave(&all), [mark, "-D FORWARD -j DOCKER-USER", "-F DOCKER-USER", "-X DOCKER-USER"]);
        assert_eq!(plan_leave(&all, true), Vec::<String>::new());
        for somebody in ["-A DOCKER-USER -s 192.0.2.0/24 -j DROP\n", "-N DOCKER\n", "-N MINKE-AB-FORWARD\n"] {
            assert_eq!(leave(&format!("{all}{somebody}")), [mark], "{somebody}");
        }
        assert_eq!(leave(DROP), Vec::<String>::new());
    }

    #[test]
    fn it_goes_when_nothing_is_dropped_any_more() {
        let (made, marked) = steps(&format!("{ACCEPT}{USERS}{MARK}"));
        assert!(!marked);
        assert_eq!(made, ["-D FORWARD -m mark --mark 0x1000000/0x1000000 -j ACCEPT"]);
    }
}
