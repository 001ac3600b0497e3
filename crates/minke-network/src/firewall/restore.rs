//! Chains of iptables, made so by the host's own `iptables-save` and `iptables-restore`: what differs is written in one go for each
//! table, and nothing where all is so. A host that chooses this backend has the programs.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use minke_model::error::Context;
use minke_model::{Error, ErrorKind, Result};

use super::chains::{TableText, prefix, tables};
use super::iptables::{USERS, find};
use super::wanted::{Families, Wanted};
use crate::link::within;

/// The chains of an engine.
#[derive(Debug)]
pub(super) struct Chains {
    namespace: OwnedFd,
    prefix: String,
    tools: Vec<Tool>,
}

#[derive(Debug)]
struct Tool {
    save: PathBuf,
    restore: PathBuf,
    v6: bool,
    /// What was found or written last.
    there: Option<Saved>,
    /// What was written last, until it has been seen how the tool prints it.
    unseen: bool,
    /// Chains as we write them, by how the tool prints them.
    spelled: BTreeMap<Vec<String>, Vec<String>>,
}

/// The rules of each chain of each table, as `iptables-save` prints them.
type Saved = BTreeMap<String, BTreeMap<String, Vec<String>>>;

impl Chains {
    /// Looks for the programs, for the calling thread's network namespace.
    pub(super) fn find(table: &str, families: Families) -> Result<Self> {
        let namespace = std::fs::File::open("/proc/thread-self/ns/net")
            .context("failed to open the network namespace")?;
        let mut tools = Vec::new();
        for (name, v6, wanted) in [("iptables", false, families.v4), ("ip6tables", true, families.v6)] {
            if let (true, Some(save), Some(restore)) =
                (wanted, find(&format!("{name}-save")), find(&format!("{name}-restore")))
            {
                tools.push(Tool { save, restore, v6, there: None, unseen: false, spelled: BTreeMap::new() });
            }
        }
        Ok(Self { namespace: namespace.into(), prefix: prefix(table), tools })
    }

    /// Makes the chains so; returns whether anything was written.
    pub(super) fn put(&mut self, wanted: &Wanted) -> Result<bool> {
        if self.tools.is_empty() {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "firewall-backend is iptables, but this host has no iptables-save and iptables-restore",
            ));
        }
        let (prefix, tools) = (&self.prefix, &mut self.tools);
        within(self.namespace.as_fd(), || {
            let mut changed = false;
            for tool in tools {
                changed |= tool.put(&tables(prefix, wanted, tool.v6))?;
            }
            Ok(changed)
        })?
    }

    /// What is there is looked at again before the next time.
    pub(super) fn look_again(&mut self) {
        self.tools.iter_mut().for_each(|tool| tool.there = None);
    }

    /// Removes them.
    pub(super) fn remove(&mut self) -> Result<()> {
        self.look_again();
        let (prefix, tools) = (&self.prefix, &self.tools);
        within(self.namespace.as_fd(), || {
            for tool in tools {
                let saved = parse(&tool.save()?);
                if let Some(script) = removal(&saved, prefix) {
                    tool.restore(&script)?;
                }
            }
            Ok(())
        })?
    }
}

impl Tool {
    fn put(&mut self, wanted: &[TableText]) -> Result<bool> {
        let mut saved = match self.there.take() {
            Some(there) => there,
            None => {
                let saved = parse(&self.save()?);
                if std::mem::take(&mut self.unseen) {
                    self.learn(&saved, wanted);
                }
                self.respell(saved)
            }
        };
        let script = script(&saved, wanted);
        if let Some(script) = &script {
            self.restore(script)?;
            self.unseen = true;
            note(&mut saved, wanted);
        }
        self.there = Some(saved);
        Ok(script.is_some())
    }

    /// A version of the tool may print a rule in other words than another: seen once, it is known to be the same.
    fn learn(&mut self, saved: &Saved, wanted: &[TableText]) {
        for table in wanted {
            for (name, rules) in &table.chains {
                let found = saved.get(table.name).and_then(|chains| chains.get(name));
                if let Some(found) = found.filter(|found| found.len() == rules.len() && *found != rules) {
                    self.spelled.insert(found.clone(), rules.clone());
                }
            }
        }
    }

    fn respell(&self, mut saved: Saved) -> Saved {
        for rules in saved.values_mut().flat_map(BTreeMap::values_mut) {
            if let Some(ours) = self.spelled.get(rules) {
                rules.clone_from(ours);
            }
        }
        saved
    }

    fn save(&self) -> Result<String> {
        let output = Command::new(&self.save).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("failed to run {}", self.save.display()))?;
        succeeded(&self.save, output.status.success(), &output.stderr)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn restore(&self, script: &str) -> Result<()> {
        let failed = || format!("failed to run {}", self.restore.display());
        let mut command = Command::new(&self.restore);
        command.args(["-w", "5", "--noflush"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.with_context(failed)?;
        // It reads all before it says anything.
        let written = child.stdin.take().map(|mut input| input.write_all(script.as_bytes()));
        let output = child.wait_with_output().with_context(failed)?;
        succeeded(&self.restore, output.status.success(), &output.stderr)?;
        written.transpose().map(drop).with_context(failed)
    }
}

fn succeeded(program: &Path, success: bool, stderr: &[u8]) -> Result<()> {
    if success {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(stderr).trim().to_string();
    Err(Error::system(format!("failed to run {}", program.display())).with_source(reason))
}

/// Reads what `iptables-save` prints.
fn parse(text: &str) -> Saved {
    let mut saved = Saved::new();
    let mut table = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_string();
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            saved.entry(table.clone()).or_default().entry(name.to_string()).or_default();
        } else if let Some((name, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            let chains = saved.entry(table.clone()).or_default();
            chains.entry(name.to_string()).or_default().push(rule.trim().to_string());
        }
    }
    saved
}

/// What `iptables-restore` is to read so that the chains are as wanted; none where they are.
fn script(saved: &Saved, wanted: &[TableText]) -> Option<String> {
    let nothing = BTreeMap::new();
    let mut text = String::new();
    for table in wanted {
        let chains = saved.get(table.name).unwrap_or(&nothing);
        let mut lines = Vec::new();
        for (name, rules) in &table.chains {
            if chains.get(name) != Some(rules) {
                // That empties it, if it is there.
                lines.push(format!(":{name} - [0:0]"));
            }
        }
        for (name, rules) in table.chains.iter().filter(|(name, rules)| chains.get(name) != Some(rules)) {
            lines.extend(rules.iter().map(|rule| format!("-A {name} {rule}")));
        }
        for (chain, rule) in &table.hooks {
            let found = chains.get(*chain).map(Vec::as_slice).unwrap_or_default();
            if *chain == "FORWARD" {
                hook_forward(found, rule, chains.contains_key(USERS), &mut lines);
            } else if !found.contains(rule) {
                lines.push(format!("-I {chain} 1 {rule}"));
            }
        }
        add(&mut text, table.name, lines);
    }
    (!text.is_empty()).then_some(text)
}

/// Ours is asked right behind the users' own chain, which comes first.
fn hook_forward(found: &[String], rule: &String, has_users: bool, lines: &mut Vec<String>) {
    let users_rule = format!("-j {USERS}");
    if !has_users {
        lines.insert(0, format!(":{USERS} - [0:0]"));
    }
    let users = found.iter().position(|one| *one == users_rule);
    let ours = found.iter().position(|one| one == rule);
    if users.is_some() && ours == users.map(|at| at + 1) {
        return;
    }
    let mut place = users.map_or(1, |at| at + 2);
    if let Some(ours) = ours {
        lines.push(format!("-D FORWARD {rule}"));
        place -= usize::from(users.is_some_and(|users| ours < users));
    }
    if users.is_none() {
        lines.push(format!("-I FORWARD 1 {users_rule}"));
        place = 2;
    }
    lines.push(format!("-I FORWARD {place} {rule}"));
}

/// What it reads so that nothing of ours is left; the users' chain stays, as it is theirs.
fn removal(saved: &Saved, prefix: &str) -> Option<String> {
    let is_ours = |name: &str| {
        let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
        // Another engine's have one more part.
        rest.is_some_and(|rest| !rest.contains('-'))
    };
    let mut text = String::new();
    for (table, chains) in saved {
        let ours: Vec<&String> = chains.keys().filter(|name| is_ours(name)).collect();
        let mut lines: Vec<String> = ours.iter().map(|name| format!(":{name} - [0:0]")).collect();
        for (name, rules) in chains.iter().filter(|(name, _)| !is_ours(name)) {
            let leads =
                |rule: &&String| rule.rsplit_once("-j ").is_some_and(|(_, target)| is_ours(target.trim()));
            lines.extend(rules.iter().filter(leads).map(|rule| format!("-D {name} {rule}")));
        }
        lines.extend(ours.iter().map(|name| format!("-X {name}")));
        add(&mut text, table, lines);
    }
    (!text.is_empty()).then_some(text)
}

fn add(text: &mut String, table: &str, lines: Vec<String>) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("*{table}\n"));
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text.push_str("COMMIT\n");
}

/// Notes what was written as what is there.
fn note(saved: &mut Saved, wanted: &[TableText]) {
    for table in wanted {
        let chains = saved.entry(table.name.to_string()).or_default();
        for (name, rules) in &table.chains {
            chains.insert(name.clone(), rules.clone());
        }
        for (chain, rule) in &table.hooks {
            let rules = chains.entry((*chain).to_string()).or_default();
            if *chain == "FORWARD" {
                let users_rule = format!("-j {USERS}");
                rules.retain(|one| one != rule);
                if !rules.contains(&users_rule) {
                    rules.insert(0, users_rule.clone());
                }
                let users = rules.iter().position(|one| *one == users_rule).unwrap_or(0);
                rules.insert(users + 1, rule.clone());
            } else if !rules.contains(rule) {
                rules.insert(0, rule.clone());
            }
        }
        if table.name == "filter" {
            chains.entry(USERS.to_string()).or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(hook: &str) -> Vec<TableText> {
        vec![TableText {
            name: "filter",
            chains: vec![("MINKE-FORWARD".into(), vec!["-i br0 -j ACCEPT".into()])],
            hooks: vec![("FORWARD", hook.into())],
        }]
    }

    const HOOK: &str = "-j MINKE-FORWARD";
    const BARE: &str = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\nCOMMIT\n";

    #[test]
    fn what_is_lacking_is_written_once() {
        let mut saved = parse(BARE);
        let text = script(&saved, &filter(HOOK)).unwrap();
        assert_eq!(
            text,
            "*filter\n:DOCKER-USER - [0:0]\n:MINKE-FORWARD - [0:0]\n-A MINKE-FORWARD -i br0 -j ACCEPT\n\
             -I FORWARD 1 -j DOCKER-USER\n-I FORWARD 2 -j MINKE-FORWARD\nCOMMIT\n"
        );
        note(&mut saved, &filter(HOOK));
        assert_eq!(script(&saved, &filter(HOOK)), None);
    }

    #[test]
    fn ours_comes_right_behind_the_users_chain() {
        let saved = |rules: &str| {
            let rules = rules.lines().map(|rule| format!("-A FORWARD {rule}\n")).collect::<String>();
            let chains = ":FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n:MINKE-FORWARD - [0:0]\n";
            parse(&format!("*filter\n{chains}-A MINKE-FORWARD -i br0 -j ACCEPT\n{rules}COMMIT\n"))
        };
        let lines = |rules: &str| script(&saved(rules), &filter(HOOK)).unwrap_or_default();
        assert_eq!(lines("-j DOCKER-USER\n-j MINKE-FORWARD\n-j ufw"), "");
        let moved = lines("-j DOCKER-USER\n-j ufw\n-j MINKE-FORWARD");
        assert!(moved.contains("-D FORWARD -j MINKE-FORWARD\n-I FORWARD 2 -j MINKE-FORWARD\n"), "{moved}");
        let moved = lines("-j MINKE-FORWARD\n-j DOCKER-USER");
        assert!(moved.contains("-D FORWARD -j MINKE-FORWARD\n-I FORWARD 2 -j MINKE-FORWARD\n"), "{moved}");
        assert!(
            lines("-j ufw").ends_with("-I FORWARD 1 -j DOCKER-USER\n-I FORWARD 2 -j MINKE-FORWARD\nCOMMIT\n")
        );
    }

    #[test]
    fn only_ours_is_removed() {
        let text = "*nat\n:PREROUTING ACCEPT [0:0]\n:MINKE-PUBLISH - [0:0]\n:MINKE-AB-PUBLISH - [0:0]\n:DOCKER - [0:0]\n\
                    -A PREROUTING -m addrtype --dst-type LOCAL -j MINKE-PUBLISH\n\
                    -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\nCOMMIT\n";
        assert_eq!(
            removal(&parse(text), "MINKE").unwrap(),
            "*nat\n:MINKE-PUBLISH - [0:0]\n-D PREROUTING -m addrtype --dst-type LOCAL -j MINKE-PUBLISH\n\
             -X MINKE-PUBLISH\nCOMMIT\n"
        );
        assert_eq!(removal(&parse(BARE), "MINKE"), None);
    }
}
