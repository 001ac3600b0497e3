//! A socket that speaks with nftables: batches that are done as a whole or not at all, and questions.

use std::collections::{BTreeMap, BTreeSet};

use minke_sys::netlink::{ACK, Batch, Family as Socketry, Refusal, Socket};
use minke_sys::{AsFd, BorrowedFd, Errno};
use netlink_bindings::nftables::{OpGetchainDump, OpGetsetelemDump, OpGettableDo};

use super::{Element, Expression, Family, Set, Table, encode, read};

const GET_TABLE: u16 = encode::SUBSYSTEM << 8 | 1;
const GET_CHAIN: u16 = encode::SUBSYSTEM << 8 | 4;
const GET_ELEMENT: u16 = encode::SUBSYSTEM << 8 | 13;

/// Changes that are made together.
#[derive(Debug)]
pub struct Changes(Batch);

impl Default for Changes {
    fn default() -> Self {
        let mut batch = Batch::default();
        encode::begin(&mut batch);
        Self(batch)
    }
}

impl Changes {
    /// Makes a table with everything in it.
    pub fn new_table(&mut self, table: &Table, comment: &str) {
        encode::new_table(&mut self.0, table, comment);
    }

    /// Removes a table with everything in it.
    pub fn delete_table(&mut self, family: Family, name: &str) {
        encode::delete_table(&mut self.0, family, name);
    }

    /// Adds elements to a set.
    pub fn add<'a>(&mut self, table: &Table, set: &Set, elements: impl Iterator<Item = &'a Element>) {
        encode::elements(&mut self.0, (table.family, &table.name, set.name), elements, true);
    }

    /// Takes elements from a set.
    pub fn remove<'a>(&mut self, table: &Table, set: &Set, elements: impl Iterator<Item = &'a Element>) {
        encode::elements(&mut self.0, (table.family, &table.name, set.name), elements, false);
    }

    /// Puts a rule at the beginning of somebody's chain.
    pub fn insert_rule(&mut self, family: Family, table: &str, chain: &str, rule: &[Expression]) {
        encode::insert_rule(&mut self.0, family, table, chain, rule);
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 1
    }
}

/// A socket for nftables of the network namespace in which it was opened.
#[derive(Debug)]
pub struct Nft(pub(super) Socket);

impl Nft {
    /// Opens one in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> Result<Self, Errno> {
        Socket::open(Socketry::Netfilter).map(Self)
    }

    /// Returns the number by which the kernel says whose changes it tells of.
    pub fn port(&self) -> u32 {
        self.0.port()
    }

    /// Makes all the changes at once, or none.
    ///
    /// # Errors
    /// Why none was made.
    pub fn commit(&self, changes: Changes) -> Result<(), Refusal> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = changes.0;
        batch.acknowledge_last();
        encode::end(&mut batch);
        self.0.apply(&batch)
    }

    /// Returns a table's comment, `Some(None)` where it has none, `None` where there is no such table.
    ///
    /// # Errors
    /// The kernel's: [`Errno::OPNOTSUPP`] and [`Errno::AFNOSUPPORT`] where it has no such tables.
    pub fn comment(&self, family: Family, name: &str) -> Result<Option<Option<String>>, Refusal> {
        let mut batch = Batch::default();
        batch.push(GET_TABLE, ACK, |bytes| {
            OpGettableDo::encode_request(bytes, &encode::header(family)).push_name_bytes(name.as_bytes());
        });
        let mut found = None;
        match self.0.request(&batch, |message| found = Some(read::table_comment(message.payload))) {
            Err(refusal) if refusal.errno == Errno::NOENT => Ok(None),
            Err(refusal) => Err(refusal),
            Ok(()) => Ok(found),
        }
    }

    /// Returns the names of the tables of a family.
    ///
    /// # Errors
    /// The kernel's.
    pub fn tables(&self, family: Family) -> Result<Vec<String>, Refusal> {
        let found = std::cell::RefCell::new(Vec::new());
        let request = encode::header(family).as_slice().to_vec();
        self.0.dump(
            GET_TABLE,
            &request,
            || found.borrow_mut().clear(),
            |message| found.borrow_mut().extend(read::table_name(message.payload)),
        )?;
        Ok(found.into_inner())
    }

    /// Whether a table's chains are all there with as many rules as they should have; what maps lead to counts as `led`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn is_whole(&self, table: &Table, led: &BTreeMap<&'static str, u32>) -> Result<bool, Refusal> {
        let mut request = Vec::new();
        drop(OpGetchainDump::encode_request(&mut request, &encode::header(table.family)));
        let found = std::cell::RefCell::new(BTreeMap::new());
        self.0.dump(
            GET_CHAIN,
            &request,
            || found.borrow_mut().clear(),
            |message| {
                if let Some((of, name, uses)) = read::chain(message.payload)
                    && of == table.name
                {
                    found.borrow_mut().insert(name, uses);
                }
            },
        )?;
        let wanted = read::uses(table).into_iter().map(|(name, uses)| {
            let led = led.get(name.as_str()).copied().unwrap_or(0);
            (name, uses + led)
        });
        Ok(found.into_inner() == wanted.collect())
    }

    /// Returns the elements of a set; none where there is no such set.
    ///
    /// # Errors
    /// The kernel's.
    pub fn elements(&self, table: &Table, set: &Set) -> Result<Option<BTreeSet<Element>>, Refusal> {
        let mut request = Vec::new();
        OpGetsetelemDump::encode_request(&mut request, &encode::header(table.family))
            .push_table_bytes(table.name.as_bytes())
            .push_set_bytes(set.name.as_bytes());
        let chains: Vec<&'static str> = table.chains.iter().map(|chain| chain.name).collect();
        let found = std::cell::RefCell::new(BTreeSet::new());
        let asked = self.0.dump(
            GET_ELEMENT,
            &request,
            || found.borrow_mut().clear(),
            |message| found.borrow_mut().extend(read::elements(message.payload, &chains)),
        );
        match asked {
            Err(refusal) if refusal.errno == Errno::NOENT => Ok(None),
            Err(refusal) => Err(refusal),
            Ok(()) => Ok(Some(found.into_inner())),
        }
    }
}

/// Hears of every change that anybody makes to nftables. Its descriptor becomes readable when there was one.
#[derive(Debug)]
pub struct Changed(Socket);

/// `NFNLGRP_NFTABLES`.
const GROUP: i32 = 7;
/// `NFT_MSG_NEWGEN`, which ends what is told of each batch.
const NEW_GENERATION: u16 = encode::SUBSYSTEM << 8 | 15;

impl Changed {
    /// Begins to listen, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn listen() -> Result<Self, Errno> {
        Socket::listen(Socketry::Netfilter, GROUP).map(Self)
    }

    /// Waits for what is told next; returns whether it may be the change of anybody but the socket with this port. Where more
    /// was told than could be held, it may.
    ///
    /// # Errors
    /// The kernel's.
    pub fn hear(&self, own: u32) -> Result<bool, Errno> {
        let mut others = false;
        let heard = self.0.hear(|message| others |= message.kind == NEW_GENERATION && message.port != own);
        match heard {
            Err(Errno::NOBUFS) => Ok(true),
            Err(error) => Err(error),
            Ok(()) => Ok(others),
        }
    }
}

impl AsFd for Changed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
