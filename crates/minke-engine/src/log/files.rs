//! The files of a log while a shim rotates them: `x` is renamed to `x.1`, `x.1` before it to `x.2`, and a new `x` made. Names
//! change under a reader, open files don't: a file is known by its number on the device, which nobody else gets while it is open.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How often a file is looked for anew that is on its way from one name to the next.
const ATTEMPTS: u32 = 1000;

/// What a file is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self(found.dev(), found.ino()))
    }

    fn at(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(Some(Self(found.dev(), found.ino()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Opens all files of the log whose current one is called `path`, oldest first. In the middle of a rotation there may be no
/// current one.
pub fn open_all(path: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    let Some((oldest, mut place)) = oldest(path)? else { return Ok(files) };
    files.push(oldest);
    while let Some(last) = files.last()
        && let Some(next) = after(path, last, &mut place)?
    {
        files.push(next);
    }
    Ok(files)
}

/// What comes after `file`, one of the log's or one that was: the next newer one, or, if it is gone itself, the oldest that is
/// left. `place` is where it was last seen, or 0: names only grow, so it is looked for from there upwards and can't be missed.
pub fn after(path: &Path, file: &File, place: &mut usize) -> io::Result<Option<File>> {
    let identity = Some(Identity::of(file)?);
    for _ in 0..ATTEMPTS {
        let Some(found) = find(path, identity, *place)? else {
            let Some((oldest, found)) = oldest(path)? else { return Ok(None) };
            *place = found;
            return Ok(Some(oldest));
        };
        *place = found;
        if found == 0 {
            return Ok(None);
        }
        let next = open(&name(path, found - 1))?;
        // Whoever is renamed goes last to first: while this file has its name, what was opened is its successor.
        if Identity::at(&name(path, found))? == identity {
            match next {
                Some(next) => {
                    *place = found - 1;
                    return Ok(Some(next));
                }
                None if found == 1 => return Ok(None),
                None => {}
            }
        }
    }
    Ok(None)
}

/// The place of a file, looked for from `from` upwards.
fn find(path: &Path, identity: Option<Identity>, from: usize) -> io::Result<Option<usize>> {
    for place in from.. {
        let there = Identity::at(&name(path, place))?;
        if there == identity {
            return Ok(Some(place));
        }
        if there.is_none() && is_end(path, place)? {
            break;
        }
    }
    Ok(None)
}

/// The oldest file and its place.
fn oldest(path: &Path) -> io::Result<Option<(File, usize)>> {
    for _ in 0..ATTEMPTS {
        let mut last = None;
        for place in 0.. {
            match Identity::at(&name(path, place))? {
                Some(identity) => last = Some((place, identity)),
                None if is_end(path, place)? => break,
                None => {}
            }
        }
        let Some((place, identity)) = last else { return Ok(None) };
        // A rotation may have put the next newer one at its name.
        if let Some(file) = open(&name(path, place))?
            && Identity::of(&file)? == identity
        {
            return Ok(Some((file, place)));
        }
    }
    Ok(None)
}

/// Whether a name that isn't there is the end, and not the gap that a rotation leaves for a moment.
fn is_end(path: &Path, place: usize) -> io::Result<bool> {
    Ok(Identity::at(&name(path, place + 1))?.is_none())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name at a place: the current file's, then `.1` and so on.
fn name(path: &Path, place: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if place == 0 {
        return name.into();
    }
    name.push(format!(".{place}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn texts(files: Vec<File>) -> Vec<String> {
        let text = |mut file: File| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        files.into_iter().map(text).collect()
    }

    #[test]
    fn files_are_found_oldest_first_also_without_a_current_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(open_all(&path).unwrap().is_empty());
        std::fs::write(name(&path, 2), "1").unwrap();
        std::fs::write(name(&path, 1), "2").unwrap();
        assert_eq!(texts(open_all(&path).unwrap()), ["1", "2"]);
        std::fs::write(&path, "3").unwrap();
        assert_eq!(texts(open_all(&path).unwrap()), ["1", "2", "3"]);
    }

    /// As a shim rotates, without a pause, while readers look.
    #[test]
    fn every_file_is_found_once_and_in_order_while_the_log_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        const LAST: usize = 300;
        std::fs::write(&path, "0").unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for number in 1..=LAST {
                    for place in (0..number).rev() {
                        std::fs::rename(name(&path, place), name(&path, place + 1)).unwrap();
                    }
                    std::fs::write(&path, number.to_string()).unwrap();
                }
            });
            while !writer.is_finished() {
                let mut texts = texts(open_all(&path).unwrap());
                // The newest may be made and not written yet.
                if texts.last().is_some_and(String::is_empty) {
                    texts.pop();
                }
                let expected: Vec<String> = (0..texts.len()).map(|number| number.to_string()).collect();
                assert_eq!(texts, expected);
            }
        });
        assert_eq!(open_all(&path).unwrap().len(), LAST + 1);
    }

    #[test]
    fn the_next_file_is_found_however_often_the_log_was_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let rotate = |text: &str| {
            for number in (1..3).rev() {
                let _ = std::fs::rename(name(&path, number), name(&path, number + 1));
            }
            let _ = std::fs::rename(&path, name(&path, 1));
            std::fs::write(&path, text).unwrap();
        };
        rotate("1");
        let first = File::open(&path).unwrap();
        assert!(after(&path, &first, &mut 0).unwrap().is_none());
        for text in ["2", "3", "4"] {
            rotate(text);
            assert_eq!(texts(after(&path, &first, &mut 0).unwrap().into_iter().collect()), ["2"]);
        }
        rotate("5");
        assert_eq!(
            texts(after(&path, &first, &mut 0).unwrap().into_iter().collect()),
            ["2"],
            "the oldest that is left"
        );
        rotate("6");
        assert_eq!(
            texts(after(&path, &first, &mut 0).unwrap().into_iter().collect()),
            ["3"],
            "the oldest that is left"
        );
    }
}
