//! Who a container's process runs as: Docker's user strings against the image's own passwd and group files.
//! Pure: whoever calls reads the files (inside the container's root) and gives their content.

use minke_model::{Error, Result};

use crate::docker::ProcessUser;

/// The longest file that is read, in bytes; what is beyond it doesn't count.
pub const FILE_LIMIT: usize = 8 * 1024 * 1024;
/// The longest line in bytes; a longer one doesn't count.
const LINE_LIMIT: usize = 64 * 1024;
/// The most groups that a user gets by being listed.
const GROUP_LIMIT: usize = 65_000;
/// The highest number that a user string may have.
const HIGHEST_ID: u32 = i32::MAX as u32;

/// The content of the files of an image; absent ones are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserFiles<'a> {
    /// `/etc/passwd`.
    pub passwd: &'a [u8],
    /// `/etc/group`.
    pub group: &'a [u8],
}

/// One line of `passwd`.
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// One line of `group`.
struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn lines(content: &[u8]) -> impl Iterator<Item = &str> {
    let content = &content[..content.len().min(FILE_LIMIT)];
    content
        .split(|byte| *byte == b'\n')
        .filter(|line| line.len() <= LINE_LIMIT)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(|line| line.trim_matches([' ', '\t', '\r']))
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A number that may be missing, then it is 0, as in the parsers that people know.
fn id(text: Option<&str>) -> u32 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn passwd(content: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(content).map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        let (uid, gid) = (id(fields.nth(1)), id(fields.next()));
        PasswdEntry { name, uid, gid, home: fields.nth(1).unwrap_or_default() }
    })
}

fn group(content: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(content).map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        GroupEntry { name, gid: id(fields.nth(1)), members: fields.next().unwrap_or_default() }
    })
}

/// Finds the home of a user by number; `None` where no line has one.
pub fn home_of(uid: u32, content: &[u8]) -> Option<String> {
    let mut entries = passwd(content);
    entries.find(|entry| entry.uid == uid && !entry.home.is_empty()).map(|entry| entry.home.to_owned())
}

/// Finds the name of a user by number.
pub fn name_of(uid: u32, content: &[u8]) -> Option<String> {
    passwd(content).find(|entry| entry.uid == uid).map(|entry| entry.name.to_owned())
}

/// A number as user strings have it: decimal digits alone.
fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok()
}

fn in_range(value: i64) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|value| *value <= HIGHEST_ID)
        .ok_or_else(|| Error::invalid(format!("uids and gids must be in range 0-{HIGHEST_ID}")))
}

/// Resolves `user` (`name`, `uid`, `name:group`, `uid:gid`, any mixture; empty: root) and the groups of `--group-add`.
///
/// A number that no line has is taken as it is, with group 0 and the home `/`. A user given without a group gets the
/// supplementary groups that list them by name.
pub fn resolve(user: &str, group_add: &[String], files: UserFiles<'_>) -> Result<ProcessUser> {
    let (user_word, group_word) = user.split_once(':').unwrap_or((user, ""));
    let wanted = number(user_word);
    // A number is never a name, whatever the file calls its users.
    let entry = passwd(files.passwd).find(|entry| match (user_word, wanted) {
        ("", _) => entry.uid == 0,
        (_, Some(value)) => i64::from(entry.uid) == value,
        (word, None) => entry.name == word,
    });
    let mut resolved = match (&entry, user_word, wanted) {
        (Some(entry), ..) => {
            ProcessUser { uid: entry.uid, gid: entry.gid, groups: Vec::new(), home: entry.home.to_owned() }
        }
        (None, "", _) => ProcessUser::default(),
        (None, _, Some(value)) => ProcessUser { uid: in_range(value)?, ..ProcessUser::default() },
        (None, word, None) => {
            return Err(Error::system(format!(
                "unable to find user {word}: no matching entries in passwd file"
            )));
        }
    };
    if resolved.home.is_empty() {
        resolved.home = "/".into();
    }
    if !group_word.is_empty() {
        resolved.gid = find_group(group_word, files.group)?;
    }
    // The group itself stands among the supplementary ones, lest files be refused to "everybody but this group".
    resolved.groups.push(resolved.gid);
    if let (true, Some(entry)) = (group_word.is_empty(), &entry) {
        let listed =
            group(files.group).filter(|group| group.members.split(',').any(|member| member == entry.name));
        resolved.groups.extend(listed.map(|group| group.gid).take(GROUP_LIMIT));
    }
    for word in group_add {
        let gid = find_added_group(word, files.group)?;
        if !resolved.groups.contains(&gid) {
            resolved.groups.push(gid);
        }
    }
    Ok(resolved)
}

/// Finds the group of a user string, where a number is never a name; one that no line has is taken as it is.
fn find_group(word: &str, content: &[u8]) -> Result<u32> {
    match number(word) {
        Some(value) => in_range(value),
        None => no_group(word, group(content).find(|entry| entry.name == word)),
    }
}

/// Finds a group of `--group-add`, by name or number, whichever stands first.
fn find_added_group(word: &str, content: &[u8]) -> Result<u32> {
    let wanted = number(word);
    let found = group(content)
        .find(|entry| entry.name == word || wanted.is_some_and(|value| i64::from(entry.gid) == value));
    match (found, wanted) {
        (None, Some(value)) => in_range(value),
        (found, _) => no_group(word, found),
    }
}

fn no_group(word: &str, found: Option<GroupEntry<'_>>) -> Result<u32> {
    let words = || Error::system(format!("unable to find group {word}: no matching entries in group file"));
    found.map(|entry| entry.gid).ok_or_else(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: UserFiles<'static> = UserFiles {
        passwd: b"root:x:0:0:root:/root:/bin/sh\n# a comment\n\nbin:x:1:1::/bin\nbob:x:1000:1001:Bob,,,:/home/bob:/bin/bash\n\
                  1234:x:55:56::/numbers\nshort:x\n\xff\xfe:x:7:7::/no:/no\n",
        group: b"root:x:0:root\nstaff:x:50:bob,bin\nwheel:x:10:root,bob\nbob:x:1001:\nadm:x:4:bin\n",
    };

    fn shown(user: &str, add: &[&str], files: UserFiles<'_>) -> String {
        let add: Vec<String> = add.iter().map(|word| (*word).to_owned()).collect();
        match resolve(user, &add, files) {
            Ok(user) => format!("{}:{} {:?} {}", user.uid, user.gid, user.groups, user.home),
            Err(error) => error.to_string(),
        }
    }

    /// CVE-2026-30892: a number is not what it begins with. Read up to the first odd letter, each of these is root.
    #[test]
    fn what_begins_like_a_number_is_nobody() {
        let read_to_the_first_odd_letter = |text: &str| -> u32 {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().unwrap_or(0)
        };
        for user in ["0x10", "0 1000", "0,1000", "x1000", "0\u{0}1000", "1e3"] {
            assert!(read_to_the_first_odd_letter(user) < 2, "{user}");
            assert!(resolve(user, &[], FILES).is_err(), "{user}");
        }
        for user in ["-1", "2147483648", "4294967296", "1000:-1", "1000:4294967296", "99999999999999999999"] {
            assert!(resolve(user, &[], FILES).is_err(), "{user}");
        }
    }

    #[test]
    fn every_form_of_a_user_resolves_as_docker_s() {
        for (user, expected) in [
            ("", "0:0 [0, 0, 10] /root"),
            ("root", "0:0 [0, 0, 10] /root"),
            ("0", "0:0 [0, 0, 10] /root"),
            ("bob", "1000:1001 [1001, 50, 10] /home/bob"),
            ("1000", "1000:1001 [1001, 50, 10] /home/bob"),
            ("bob:staff", "1000:50 [50] /home/bob"),
            ("bob:77", "1000:77 [77] /home/bob"),
            ("1000:0", "1000:0 [0] /home/bob"),
            ("4242", "4242:0 [0] /"),
            ("4242:4243", "4242:4243 [4243] /"),
            (":staff", "0:50 [50] /root"),
            ("bob:", "1000:1001 [1001, 50, 10] /home/bob"),
            ("1234", "1234:0 [0] /"),
            ("55", "55:56 [56] /numbers"),
            ("short", "0:0 [0] /"),
            ("eve", "unable to find user eve: no matching entries in passwd file"),
            ("bob:eve", "unable to find group eve: no matching entries in group file"),
            ("-1", "uids and gids must be in range 0-2147483647"),
            ("4294967296", "uids and gids must be in range 0-2147483647"),
        ] {
            assert_eq!(shown(user, &[], FILES), expected, "{user}");
        }
    }

    #[test]
    fn added_groups_stand_behind_the_user_s_own_once() {
        assert_eq!(shown("bob", &["adm", "99", "50"], FILES), "1000:1001 [1001, 50, 10, 4, 99] /home/bob");
        assert_eq!(
            shown("bob", &["nobodys"], FILES),
            "unable to find group nobodys: no matching entries in group file"
        );
    }

    #[test]
    fn an_image_without_files_knows_numbers_alone() {
        let none = UserFiles::default();
        assert_eq!(shown("", &[], none), "0:0 [0] /");
        assert_eq!(shown("5:6", &["7"], none), "5:6 [6, 7] /");
        assert_eq!(shown("root", &[], none), "unable to find user root: no matching entries in passwd file");
    }

    #[test]
    fn long_lines_and_what_is_beyond_the_limit_do_not_count() {
        let mut content = vec![b'x'; LINE_LIMIT + 1];
        content.extend_from_slice(b"\nbob:x:5:5::/b:\n");
        assert_eq!(shown("bob", &[], UserFiles { passwd: &content, group: b"" }), "5:5 [5] /b");
        let mut content = vec![b'\n'; FILE_LIMIT];
        content.extend_from_slice(b"bob:x:5:5::/b:\n");
        assert!(resolve("bob", &[], UserFiles { passwd: &content, group: b"" }).is_err());
    }
}
