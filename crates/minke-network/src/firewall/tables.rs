//! What is wanted, made so: compared with what is there, and only the difference written, at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use minke_model::error::Context;
use minke_model::{Error, ErrorKind, Result};
use minke_sys::Errno;
use minke_sys::netlink::Refusal;

use super::chains;
use super::firewalld::{self, Firewalld};
use super::frame;
use super::guard::Guard;
use super::iptables::Tools;
use super::restore::Chains;
use super::ufw;
use super::untouched::leaving_alone;
use super::wanted::{Elements, Families, Wanted, frame_elements, packet_elements};
use crate::engine::Names;
use crate::nft::{Changes, Copied, Data, Nft, Table};

/// How the firewall is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether IPv4 packets are filtered and translated (`iptables`).
    pub ipv4: bool,
    /// The same for IPv6 (`ip6tables`).
    pub ipv6: bool,
    /// Whether the chains of iptables are kept in order where the host has its tools: `DOCKER-USER`, and a rule for what they
    /// would drop.
    pub iptables: bool,
    /// Whether packets are filtered and translated by chains of iptables instead of a table of our own (`firewall-backend`).
    pub chains: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { ipv4: true, ipv6: true, iptables: false, chains: false }
    }
}

/// A firewall. It belongs to the network namespace in which it was opened.
#[derive(Debug)]
pub struct Firewall {
    nft: Nft,
    settings: Settings,
    tools: Option<Tools>,
    chains: Option<Chains>,
    /// With chains: whether somebody is asked beside them, by a table.
    beside: bool,
    /// With chains: there is no such table, nor one that another backend has left.
    swept: bool,
    /// Where ufw's files are, if they are honoured.
    ufw: Option<PathBuf>,
    /// What they say.
    guard: Option<Guard>,
    /// This kernel can't tell anybody that he isn't let in.
    mute: bool,
    /// Whether firewalld's own chains are asked about published ports.
    asks_firewalld: bool,
    /// What it says.
    firewalld: Firewalld,
    /// Why its chains can't be copied, until that is told.
    closed_by: Option<Error>,
    /// What the table was made with.
    made_with: (Option<Guard>, Firewalld),
    /// For which families chains of others want packets marked, once they were asked.
    marked: Option<Families>,
    tables: [Kept; 2],
    /// What was asked for last.
    wanted: Option<Wanted>,
}

/// A table, and what was put into it last.
#[derive(Debug)]
struct Kept {
    table: Table,
    comment: String,
    /// Which elements are wanted of what is wanted.
    of: fn(&Wanted) -> Elements,
    /// What is in the kernel, as far as is known.
    there: Option<Elements>,
    /// Whether the kernel may lack such tables: then nothing is lost but rules between the ports of one bridge.
    may_lack: bool,
    lacks: bool,
}

impl Kept {
    fn new(table: Table, of: fn(&Wanted) -> Elements, may_lack: bool) -> Self {
        Self { comment: frame::comment(&table), table, of, there: None, may_lack, lacks: false }
    }
}

impl Firewall {
    /// Opens what it needs in the calling thread's network namespace; nothing is changed yet.
    ///
    /// # Errors
    /// Where netlink can't be had.
    pub fn open(names: &Names, settings: Settings) -> Result<Self> {
        let nft = Nft::open().context("failed to open a socket for the packet filter")?;
        let families = Families { v4: settings.ipv4, v6: settings.ipv6 };
        let with_chains = settings.iptables || settings.chains;
        let tools = with_chains.then(|| Tools::find(families)).transpose()?;
        let chains = with_chains.then(|| Chains::find(&names.table, families)).transpose()?;
        Ok(Self {
            nft,
            settings,
            tools,
            chains,
            beside: false,
            swept: false,
            ufw: None,
            guard: None,
            mute: false,
            asks_firewalld: false,
            firewalld: Firewalld::default(),
            closed_by: None,
            made_with: Default::default(),
            marked: None,
            tables: [
                Kept::new(
                    leaving_alone(frame::packets(&names.table, None, None), families),
                    packet_elements,
                    false,
                ),
                Kept::new(leaving_alone(frame::frames(&names.table), families), frame_elements, true),
            ],
            wanted: None,
        })
    }

    /// Whether an earlier engine of this name has left its table, in the calling thread's network namespace.
    pub fn is_left(names: &Names) -> bool {
        let Ok(nft) = Nft::open() else { return false };
        matches!(nft.comment(crate::nft::Family::Inet, &names.table), Ok(Some(_)))
    }

    /// Honours ufw: who may connect to the host decides about published ports too. `etc` is `/etc`. Its files are read again at
    /// each repair.
    pub fn honour_ufw(&mut self, etc: PathBuf) {
        self.ufw = Some(etc);
        self.read_ufw();
    }

    fn read_ufw(&mut self) {
        let Some(etc) = &self.ufw else { return };
        self.guard = ufw::read(etc);
        if self.mute {
            self.guard = self.guard.take().map(Guard::silent);
        }
    }

    /// Honours firewalld: its zones decide about published ports too. They are read at first and again at each repair.
    pub fn honour_firewalld(&mut self) {
        self.asks_firewalld = true;
    }

    fn read_firewalld(&mut self) -> Result<()> {
        self.firewalld = firewalld::read(&self.nft, self.asks_firewalld, &self.firewalld)?;
        Ok(())
    }

    /// Returns the bridges that are to be known to firewalld: none where it doesn't run.
    pub fn bridges_beside_firewalld(&self) -> Vec<String> {
        let wanted = self.wanted.iter().filter(|_| self.firewalld.runs);
        wanted.flat_map(|wanted| &wanted.networks).map(|network| network.bridge.clone()).collect()
    }

    /// Returns what ufw says about published ports; none where it isn't there, is off, or isn't asked.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Returns the same where no firewall of ours is opened yet; `etc` is `/etc`.
    pub fn guard_of_host(etc: &Path) -> Option<Guard> {
        ufw::read(etc)
    }

    /// The folders in which a change matters.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        self.ufw.iter().flat_map(|etc| [etc.join("ufw"), etc.join("default")]).collect()
    }

    /// Makes the tables so. Against what it put there before, without asking; the first time against what is found. Where all
    /// is so, nothing is written.
    ///
    /// # Errors
    /// The kernel's; nothing was changed by then, and the next call compares with what is found.
    pub fn apply(&mut self, wanted: &Wanted) -> Result<()> {
        if self.wanted.is_none() {
            self.read_firewalld()?;
        }
        let others = self.ask_others();
        let result = self.put(&self.actual(wanted));
        self.wanted = Some(wanted.clone());
        others.and(result.map(|_| ()))
    }

    /// Makes them so again, if somebody changed them; returns whether somebody had.
    ///
    /// # Errors
    /// The kernel's.
    pub fn repair(&mut self) -> Result<bool> {
        let Some(wanted) = self.wanted.clone() else { return Ok(false) };
        self.tables.iter_mut().for_each(|kept| kept.there = None);
        self.chains.iter_mut().for_each(Chains::look_again);
        self.read_ufw();
        let read = self.read_firewalld();
        // Before tools are run, which take their time.
        let first = self.put(&self.actual(&wanted));
        self.marked = None;
        let others = self.ask_others();
        let changed = self.put(&self.actual(&wanted))?;
        if let Some(error) = self.closed_by.take() {
            return Err(error);
        }
        read.and(others).and(first).map(|first| first || changed)
    }

    /// Removes the tables and chains, and from chains of others what was put there, unless somebody else needs it.
    ///
    /// # Errors
    /// The kernel's, a tool's.
    pub fn remove_all(&mut self) -> Result<()> {
        self.wanted = None;
        for kept in &mut self.tables {
            remove_table(&self.nft, kept)?;
        }
        if let Some(chains) = self.chains.as_mut().filter(|_| self.settings.chains) {
            chains.remove()?;
        }
        let Some(tools) = &self.tools else { return Ok(()) };
        let tables = self.nft.tables(crate::nft::Family::Inet).unwrap_or_default();
        let own = &self.tables[0].table.name;
        tools.leave(tables.iter().any(|name| name != own && is_an_engines(name)))
    }

    /// Returns the tables' frames, for a reader who wants to know what stands there.
    pub fn frames(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter().map(|kept| &kept.table)
    }

    /// The number by which its own changes are known.
    pub(super) fn port(&self) -> u32 {
        self.nft.port()
    }

    /// Brings the chains of others in order, once, and notes what they want. What fails there doesn't keep ours from being set up.
    fn ask_others(&mut self) -> Result<()> {
        if let (Some(tools), None, false) = (&self.tools, self.marked, self.settings.chains) {
            let asked = tools.ensure(&chains::forward_chain(&self.tables[0].table.name));
            // Marked in doubt: it does no harm.
            let in_doubt = (Families { v4: true, v6: true }, false);
            let (marked, left) = *asked.as_ref().unwrap_or(&in_doubt);
            self.marked = Some(marked);
            asked?;
            if let Some(chains) = self.chains.as_mut().filter(|_| left) {
                chains.remove()?;
            }
        }
        Ok(())
    }

    /// What is wanted, by the settings and by others.
    fn actual(&self, wanted: &Wanted) -> Wanted {
        let mut wanted = wanted.clone();
        let marked = self.marked.unwrap_or_default();
        wanted.mark = Families { v4: wanted.mark.v4 || marked.v4, v6: wanted.mark.v6 || marked.v6 };
        wanted.routes_asked = self.guard.as_ref().is_some_and(|guard| !guard.routes.is_empty());
        self.without_families(&wanted)
    }

    /// What is left of it where a family is left alone.
    fn without_families(&self, wanted: &Wanted) -> Wanted {
        let mut wanted = wanted.clone();
        let stays = |is_v4: bool| if is_v4 { self.settings.ipv4 } else { self.settings.ipv6 };
        for network in &mut wanted.networks {
            network.subnets.retain(|net| stays(net.addr().is_ipv4()));
        }
        wanted.published.retain(|rule| stays(rule.to.is_ipv4()));
        wanted.links.retain(|link| stays(link.to.is_ipv4()));
        if !self.settings.ipv4 {
            wanted.apart.clear();
        }
        wanted.apart6 &= self.settings.ipv6;
        wanted.mark.v4 &= self.settings.ipv4;
        wanted.mark.v6 &= self.settings.ipv6;
        wanted
    }

    fn put(&mut self, wanted: &Wanted) -> Result<bool> {
        match self.put_all(wanted) {
            Err(_) if self.guard.as_ref().is_some_and(Guard::answers) => {
                self.guard = self.guard.take().map(Guard::silent);
                let put = self.put(wanted);
                self.mute |= put.is_ok();
                put
            }
            // What can't be copied lets nobody in.
            Err(error) if self.firewalld.chains.is_some() => {
                self.firewalld.chains = Some(Copied::closed(frame::FIREWALLD));
                self.closed_by = Some(error);
                self.put_all(wanted)
            }
            other => other,
        }
    }

    /// Has the table say what the host's own firewall says now; returns whether that matters also where nothing is written.
    fn follow_asked(&mut self) -> bool {
        if (&self.guard, &self.firewalld) == (&self.made_with.0, &self.made_with.1) {
            return false;
        }
        let [packets, _] = &mut self.tables;
        let (guard, copied) = (self.guard.as_ref(), self.firewalld.chains.as_ref());
        let name = &packets.table.name;
        let table = if self.settings.chains {
            let beside = frame::beside(name, guard, copied);
            self.beside = beside.is_some();
            beside.unwrap_or_else(|| frame::packets(name, None, None))
        } else {
            frame::packets(name, guard, copied)
        };
        packets.table = leaving_alone(table, Families { v4: self.settings.ipv4, v6: self.settings.ipv6 });
        packets.comment = frame::comment(&packets.table);
        packets.there = None;
        let changed = self.firewalld.runs != self.made_with.1.runs;
        self.made_with = (self.guard.clone(), self.firewalld.clone());
        changed
    }

    fn put_all(&mut self, wanted: &Wanted) -> Result<bool> {
        let mut changed = self.follow_asked();
        let [packets, frames] = &mut self.tables;
        changed |= match &mut self.chains {
            Some(chains) if self.settings.chains => {
                // Who is asked is there before what leads past him.
                let asked = if self.beside {
                    self.swept = false;
                    put_table(&self.nft, packets, wanted)?
                } else {
                    false
                };
                let put = chains.put(wanted)?;
                if !self.beside && !self.swept {
                    remove_table(&self.nft, packets)?;
                    self.swept = true;
                }
                asked || put
            }
            _ => put_table(&self.nft, packets, wanted)?,
        };
        changed |= put_table(&self.nft, frames, wanted)?;
        Ok(changed)
    }
}

/// Whether a table is one of an engine of ours.
fn is_an_engines(name: &str) -> bool {
    name == "minke" || name.starts_with("minke-")
}

fn remove_table(nft: &Nft, kept: &mut Kept) -> Result<()> {
    kept.there = None;
    let (family, name) = (kept.table.family, &kept.table.name);
    let found = match nft.comment(family, name) {
        Err(refusal) if is_lacking(&refusal) => return Ok(()),
        other => other.with_context(|| format!("failed to read the firewall's table {name}"))?,
    };
    if found.is_some() {
        let mut changes = Changes::default();
        changes.delete_table(family, name);
        let removed = nft.commit(changes);
        removed.with_context(|| format!("failed to remove the firewall's table {name}"))?;
    }
    Ok(())
}

fn put_table(nft: &Nft, kept: &mut Kept, wanted: &Wanted) -> Result<bool> {
    if kept.lacks {
        return Ok(false);
    }
    let elements = (kept.of)(wanted);
    // The table of frames is there when something is closed.
    if kept.may_lack && kept.there.is_none() && elements.values().all(BTreeSet::is_empty) {
        let found = nft.comment(kept.table.family, &kept.table.name);
        if !matches!(found, Ok(Some(_))) {
            return Ok(false);
        }
    }
    // A second time from what is found, where somebody was there in between.
    for again in [true, false] {
        match put_elements(nft, kept, &elements) {
            Err(refusal) if kept.may_lack && is_lacking(&refusal) => {
                kept.lacks = true;
                return Ok(false);
            }
            Err(refusal) if again && !is_lacking(&refusal) => {
                let _ = refusal;
                kept.there = None;
            }
            other => return other.map_err(|refusal| failed(&kept.table, refusal)),
        }
    }
    Ok(false)
}

fn failed(table: &Table, refusal: Refusal) -> Error {
    let words = format!("failed to set up the firewall's table {}", table.name);
    if is_lacking(&refusal) {
        return Error::new(
            ErrorKind::NotImplemented,
            format!(
                "{words}: this host's kernel has no nftables, or lacks a part of it (modprobe nf_tables)"
            ),
        )
        .with_source(refusal);
    }
    Error::system(words).with_source(refusal)
}

fn is_lacking(refusal: &Refusal) -> bool {
    matches!(refusal.errno, Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT)
}

fn put_elements(nft: &Nft, kept: &mut Kept, elements: &Elements) -> Result<bool, Refusal> {
    let there = match kept.there.take() {
        Some(there) => Some(there),
        None => found(nft, kept)?,
    };
    let mut changes = Changes::default();
    let frame_stands = there.is_some();
    let there = there.unwrap_or_default();
    if !frame_stands {
        if nft.comment(kept.table.family, &kept.table.name)?.is_some() {
            changes.delete_table(kept.table.family, &kept.table.name);
        }
        changes.new_table(&kept.table, &kept.comment);
    }
    let nothing = BTreeSet::new();
    for set in &kept.table.sets {
        let (old, new) =
            (there.get(set.name).unwrap_or(&nothing), elements.get(set.name).unwrap_or(&nothing));
        if old == new {
            continue;
        }
        changes.remove(&kept.table, set, old.difference(new));
        changes.add(&kept.table, set, new.difference(old));
    }
    let changed = !changes.is_empty();
    nft.commit(changes)?;
    kept.there = Some(elements.clone());
    Ok(changed)
}

/// What is in a table, if its frame is the one of now and whole.
fn found(nft: &Nft, kept: &Kept) -> Result<Option<Elements>, Refusal> {
    if nft.comment(kept.table.family, &kept.table.name)?.flatten().as_deref() != Some(&kept.comment) {
        return Ok(None);
    }
    let mut all = Elements::new();
    let mut led: BTreeMap<&'static str, u32> = BTreeMap::new();
    for set in kept.table.sets.iter().filter(|set| set.counted_s.is_none()) {
        let Some(elements) = nft.elements(&kept.table, set)? else { return Ok(None) };
        for element in &elements {
            match element.data {
                Data::Jump(chain) => *led.entry(chain).or_default() += 1,
                Data::Other => return Ok(None),
                _ => {}
            }
        }
        all.insert(set.name, elements);
    }
    Ok(nft.is_whole(&kept.table, &led)?.then_some(all))
}
