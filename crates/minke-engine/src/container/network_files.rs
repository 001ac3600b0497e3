//! A container's /etc/hosts and /etc/resolv.conf while it runs: they follow its networks, in place, and what the container has
//! written into them stays.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::IpAddr;
use std::path::Path;

use minke_model::{Context as _, Result};

use super::etc::{self, Network};
use super::record::Record;
use crate::engine::Shared;
use crate::network::Live;

/// A file that a container has made larger than this is its own.
const LARGEST: u64 = 1 << 20;

/// Brings both files of a container from what they say of its record and networks `before` to what they say of them now.
///
/// # Errors
/// The file system's.
pub fn rewrite(shared: &Shared, before: (&Record, &Live), now: (&Record, &Live)) -> Result<()> {
    let paths = shared.paths(&now.0.id);
    let old = etc::files(shared, before.0, Network::Changing, Some(before.1))?;
    let new = etc::files(shared, now.0, Network::Changing, Some(now.1))?;
    change(&paths.hosts, |text| with_lines(text, &old.hosts, &new.hosts))?;
    // One that the container has changed is its own, as Docker sees it.
    let untouched = |text: &str| text == old.resolv_conf && old.resolv_conf != new.resolv_conf;
    change(&paths.resolv_conf, |text| untouched(text).then(|| new.resolv_conf.clone()))
}

/// Gives the rows of the name `alias` another address, where there are rows of that family.
///
/// # Errors
/// The file system's.
pub fn readdress(hosts: &Path, alias: &str, addresses: &[IpAddr]) -> Result<()> {
    change(hosts, |text| {
        let row = |line: &str| {
            let (old, names) = line.split_once('\t')?;
            let old: IpAddr = old.parse().ok()?;
            let new = addresses.iter().find(|new| new.is_ipv4() == old.is_ipv4())?;
            (names.split(' ').next() == Some(alias) && *new != old).then(|| format!("{new}\t{names}"))
        };
        text.lines()
            .any(|line| row(line).is_some())
            .then(|| text.lines().map(|line| row(line).unwrap_or_else(|| line.to_owned()) + "\n").collect())
    })
}

/// Puts what `edit` makes of a file's text into its place: the file is bound into the container, so it stays the same file.
fn change(path: &Path, edit: impl FnOnce(&str) -> Option<String>) -> Result<()> {
    let work = || {
        let mut file = File::options().read(true).write(true).open(path)?;
        let mut text = String::new();
        if file.metadata()?.len() > LARGEST || (&mut file).take(LARGEST).read_to_string(&mut text).is_err() {
            return Ok(());
        }
        let Some(text) = edit(&text) else { return Ok(()) };
        file.rewind()?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)
    };
    work().with_context(|| format!("writing {}", path.display()))
}

/// `text` without the lines that `new` has no more, and with those that it has beside `old`'s; none where there is nothing to do.
fn with_lines(text: &str, old: &str, new: &str) -> Option<String> {
    let has = |all: &str, line: &str| all.lines().any(|one| one == line);
    let added: Vec<&str> = new.lines().filter(|line| !has(old, line)).collect();
    let mut removed: Vec<&str> = old.lines().filter(|line| !has(new, line)).collect();
    if added.is_empty() && removed.is_empty() {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for line in text.lines() {
        match removed.iter().position(|one| *one == line) {
            Some(at) => drop(removed.swap_remove(at)),
            None => kept.push(line),
        }
    }
    kept.extend(added);
    Some(kept.iter().map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_container_wrote_stays_where_networks_come_and_go() {
        let old = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n";
        let new = "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n10.1.0.2\tweb\n";
        let own = format!("# mine\n{old}1.2.3.4 other");
        let connected = with_lines(&own, old, new).unwrap();
        assert_eq!(connected, "# mine\n127.0.0.1\tlocalhost\n10.0.0.2\tweb\n1.2.3.4 other\n10.1.0.2\tweb\n");
        assert_eq!(with_lines(&connected, new, old).unwrap(), format!("{own}\n"));
        assert_eq!(with_lines(&own, old, old), None);
        // What it has removed itself does not come back.
        assert_eq!(with_lines("mine\n", old, new).unwrap(), "mine\n10.1.0.2\tweb\n");
    }

    #[test]
    fn a_link_follows_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "172.17.0.2\tdb 0123\n172.17.0.2\tother\n# x").unwrap();
        readdress(&path, "db", &["172.17.0.9".parse().unwrap()]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "172.17.0.9\tdb 0123\n172.17.0.2\tother\n# x\n");
    }

    #[test]
    fn a_file_stays_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "a long line\n").unwrap();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
        let before = inode(&path);
        change(&path, |_| Some("b\n".into())).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), inode(&path)), ("b\n", before));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        change(&path, |_| Some("c\n".into())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [0xff, 0xfe]);
    }
}
