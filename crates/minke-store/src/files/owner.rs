//! Owners of files in a root whose ids are mapped: archives have the container's ids, the files the host's. Pure.
//!
//! File capabilities name a root too, in their third version (capabilities(7), `vfs_ns_cap_data`).

use minke_model::idmap::IdMap;
use minke_model::{Error, Result};

const REVISION: u8 = 3;
const LENGTH_2: usize = 20;
const LENGTH_3: usize = 24;

/// The map between a container's ids and the host's, if they differ.
#[derive(Clone, Copy, Default)]
pub(crate) struct Owners<'a>(pub(crate) Option<&'a IdMap>);

impl Owners<'_> {
    /// An owner on the disk, as an archive has it.
    pub(crate) fn archived(self, owner: (u32, u32)) -> (u32, u32) {
        self.0.map_or(owner, |map| map.inside(owner))
    }

    /// An owner of an archive, as the disk has it.
    ///
    /// # Errors
    /// Docker's words for one that is not mapped.
    pub(crate) fn kept(self, owner: (u32, u32)) -> Result<(u32, u32)> {
        let Some(map) = self.0 else { return Ok(owner) };
        map.outside(owner).ok_or_else(|| {
            let id = if map.outside((owner.0, 0)).is_none() { owner.0 } else { owner.1 };
            Error::system(format!("Container ID {id} cannot be mapped to a host ID"))
        })
    }

    /// File capabilities of an archive as they have to be set: they name the container's root.
    pub(crate) fn kept_capability(self, value: &[u8]) -> Vec<u8> {
        let mut value = value.to_vec();
        if let (Some(map), true) = (self.0, value.len() == LENGTH_2 && value[3] == REVISION - 1) {
            value[3] = REVISION;
            value.extend(map.root().0.to_le_bytes());
        }
        value
    }
}

/// File capabilities as archives have them: whose root is meant makes no sense elsewhere.
pub(crate) fn archived_capability(value: &mut [u8]) -> &[u8] {
    if value.len() == LENGTH_3 && value[3] == REVISION {
        value[3] = REVISION - 1;
        return &value[..LENGTH_2];
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use minke_model::idmap::IdRange;

    fn map() -> IdMap {
        let ranges = vec![IdRange { inside: 0, outside: 100_000, count: 1000 }];
        IdMap::new(ranges.clone(), ranges).unwrap()
    }

    #[test]
    fn capabilities_name_a_root_only_on_the_disk() {
        let map = map();
        let archived = [&[1, 0, 0, 2][..], &[7; 16]].concat();
        let mut kept = Owners(Some(&map)).kept_capability(&archived);
        assert_eq!((kept.len(), kept[3], &kept[20..]), (24, 3, &100_000u32.to_le_bytes()[..]));
        assert_eq!(archived_capability(&mut kept), archived);
        assert_eq!(Owners(None).kept_capability(&archived), archived);
    }

    #[test]
    fn an_owner_that_is_not_mapped_is_refused_in_dockers_words() {
        let map = map();
        assert_eq!(Owners(Some(&map)).kept((5, 6)).unwrap(), (100_005, 100_006));
        assert_eq!(Owners(Some(&map)).archived((100_005, 7)), (5, 65534));
        let error = Owners(Some(&map)).kept((0, 1000)).unwrap_err();
        assert_eq!(error.message(), "Container ID 1000 cannot be mapped to a host ID");
    }
}
