//! Maps between the ids of a user namespace and those of the host, and the files in which a host says who may map what
//! (subuid(5), subgid(5)).

use crate::{Error, Result};

/// The id that stands for one which is not mapped, as the kernel shows it.
const OVERFLOW: u32 = 65534;
/// More rows than this are nobody's (the kernel takes 340).
const MAX_RANGES: usize = 340;

/// Ids that follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// The first of them inside.
    pub inside: u32,
    /// The same one on the host.
    pub outside: u32,
    /// How many they are.
    pub count: u32,
}

/// The users and groups of a user namespace. Root is always mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    uids: Vec<IdRange>,
    gids: Vec<IdRange>,
}

impl IdMap {
    /// Puts one together.
    ///
    /// # Errors
    /// Root is mapped by neither or only one of them.
    pub fn new(uids: Vec<IdRange>, gids: Vec<IdRange>) -> Result<Self> {
        let map = Self { uids, gids };
        match (outside(&map.uids, 0), outside(&map.gids, 0)) {
            (Some(_), Some(_)) => Ok(map),
            _ => Err(Error::invalid("Container ID 0 cannot be mapped to a host ID")),
        }
    }

    /// The users' ranges.
    pub fn uids(&self) -> &[IdRange] {
        &self.uids
    }

    /// The groups' ranges.
    pub fn gids(&self) -> &[IdRange] {
        &self.gids
    }

    /// Root's user and group on the host.
    pub fn root(&self) -> (u32, u32) {
        (outside(&self.uids, 0).unwrap_or(OVERFLOW), outside(&self.gids, 0).unwrap_or(OVERFLOW))
    }

    /// The host's ids of an owner inside; `None` where one of them is not mapped.
    pub fn outside(&self, (uid, gid): (u32, u32)) -> Option<(u32, u32)> {
        Some((outside(&self.uids, uid)?, outside(&self.gids, gid)?))
    }

    /// The ids inside of an owner on the host; what is not mapped is 65534, as a process inside sees it.
    pub fn inside(&self, (uid, gid): (u32, u32)) -> (u32, u32) {
        (inside(&self.uids, uid), inside(&self.gids, gid))
    }
}

fn outside(ranges: &[IdRange], id: u32) -> Option<u32> {
    let found = |range: &&IdRange| id >= range.inside && id - range.inside < range.count;
    ranges.iter().find(found).map(|range| range.outside + (id - range.inside))
}

fn inside(ranges: &[IdRange], id: u32) -> u32 {
    let found = |range: &&IdRange| id >= range.outside && id - range.outside < range.count;
    ranges.iter().find(found).map_or(OVERFLOW, |range| range.inside + (id - range.outside))
}

/// The ranges that a file of subordinate ids gives a user, who stands there by name or by number: mapped from 0 on, the lowest
/// first.
///
/// # Errors
/// A row of the user's that is no range of ids, or too many of them.
pub fn subordinate(text: &str, name: &str, uid: u32) -> Result<Vec<IdRange>> {
    let number = uid.to_string();
    let mut rows = Vec::new();
    for line in text.lines().map(str::trim) {
        let mut fields = line.split(':');
        let (Some(owner), start, count) = (fields.next(), fields.next(), fields.next()) else { continue };
        if line.starts_with('#') || (owner != name && owner != number) {
            continue;
        }
        let read = |field: Option<&str>| field.and_then(|field| field.parse::<u32>().ok());
        let (Some(start), Some(count), None) = (read(start), read(count), fields.next()) else {
            return Err(Error::invalid(format!("invalid subordinate id range: {line:?}")));
        };
        if start.checked_add(count).is_none() {
            return Err(Error::invalid(format!("invalid subordinate id range: {line:?}")));
        }
        if count > 0 {
            rows.push((start, count));
        }
    }
    if rows.len() > MAX_RANGES {
        return Err(Error::invalid(format!("more than {MAX_RANGES} subordinate id ranges for {name:?}")));
    }
    rows.sort_unstable();
    let mut next = 0u32;
    let ranges = rows.into_iter().map(|(outside, count)| {
        let range = IdRange { inside: next, outside, count };
        next = next.saturating_add(count);
        range
    });
    Ok(ranges.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(inside: u32, outside: u32, count: u32) -> IdRange {
        IdRange { inside, outside, count }
    }

    #[test]
    fn a_users_ranges_are_found_by_name_and_by_number_and_mapped_in_their_order() {
        let text = "# who\nother:1:2\nme:300000:10\n1000:100000:65536\nmore:1\n";
        assert_eq!(
            subordinate(text, "me", 1000).unwrap(),
            [range(0, 100_000, 65536), range(65536, 300_000, 10)]
        );
        assert_eq!(subordinate(text, "nobody", 7).unwrap(), []);
    }

    #[test]
    fn a_row_that_is_no_range_is_refused() {
        for text in ["me:x:1", "me:1", "me:1:2:3", "me:4294967295:2", "me:-1:2"] {
            assert!(subordinate(text, "me", 1000).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_mapped_both_ways() {
        let map = IdMap::new(vec![range(0, 100_000, 1000)], vec![range(0, 200_000, 10)]).unwrap();
        assert_eq!(map.root(), (100_000, 200_000));
        assert_eq!(map.outside((33, 9)), Some((100_033, 200_009)));
        assert_eq!(map.outside((33, 10)), None);
        assert_eq!(map.inside((100_033, 200_009)), (33, 9));
        assert_eq!(map.inside((0, 199_999)), (65534, 65534));
        assert!(IdMap::new(vec![range(1, 5, 5)], vec![range(0, 5, 5)]).is_err());
    }
}
