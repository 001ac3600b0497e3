//! The files of a log while a shim rotates them: `x` is renamed to `x.1`, `x.1` before it to `x.2`, and a new `x` made. Names
//! change under a reader, open files don't: a file is known by its number on the device, which nobody else gets while it is open.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// How often the files are looked at anew before a picture that doesn't hold still is taken as it is.
const ATTEMPTS: u32 = 50;

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
    for _ in 0..ATTEMPTS {
        files = open_each(path)?;
        if holds_still(path, &files)? {
            break;
        }
    }
    let mut files: Vec<File> = files.into_iter().flatten().collect();
    files.reverse();
    Ok(files)
}

/// What comes after `file`, one of the log's or one that was: the next newer one, or the oldest that is left.
pub fn after(path: &Path, file: &File) -> io::Result<Option<File>> {
    let identity = Identity::of(file)?;
    if Identity::at(path)? == Some(identity) {
        return Ok(None);
    }
    let mut files = open_all(path)?;
    let mut place = None;
    for (index, other) in files.iter().enumerate() {
        if Identity::of(other)? == identity {
            place = Some(index);
        }
    }
    let next = place.map_or(0, |index| index + 1);
    Ok((next < files.len()).then(|| files.swap_remove(next)))
}

/// The current file, then `.1` and so on, as far as they go.
fn open_each(path: &Path) -> io::Result<Vec<Option<File>>> {
    let mut files = vec![open(path)?];
    for number in 1.. {
        match open(&rotated(path, number))? {
            Some(file) => files.push(Some(file)),
            None => break,
        }
    }
    Ok(files)
}

/// Whether each file still has the name by which it was opened, and none is on its way from one name to the next.
fn holds_still(path: &Path, files: &[Option<File>]) -> io::Result<bool> {
    for (number, file) in files.iter().enumerate() {
        let identity = file.as_ref().map(Identity::of).transpose()?;
        let name = if number == 0 { path.to_owned() } else { rotated(path, number) };
        if Identity::at(&name)? != identity {
            return Ok(false);
        }
    }
    let beyond = [files.len(), files.len() + 1].map(|number| Identity::at(&rotated(path, number)));
    let [next, over_next] = beyond;
    Ok(next?.is_none() && over_next?.is_none())
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn rotated(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
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
        std::fs::write(rotated(&path, 2), "1").unwrap();
        std::fs::write(rotated(&path, 1), "2").unwrap();
        assert_eq!(texts(open_all(&path).unwrap()), ["1", "2"]);
        std::fs::write(&path, "3").unwrap();
        assert_eq!(texts(open_all(&path).unwrap()), ["1", "2", "3"]);
    }

    #[test]
    fn the_next_file_is_found_however_often_the_log_was_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let rotate = |text: &str| {
            for number in (1..3).rev() {
                let _ = std::fs::rename(rotated(&path, number), rotated(&path, number + 1));
            }
            let _ = std::fs::rename(&path, rotated(&path, 1));
            std::fs::write(&path, text).unwrap();
        };
        rotate("1");
        let first = File::open(&path).unwrap();
        assert!(after(&path, &first).unwrap().is_none());
        for text in ["2", "3", "4"] {
            rotate(text);
            assert_eq!(texts(after(&path, &first).unwrap().into_iter().collect()), ["2"]);
        }
        rotate("5");
        assert_eq!(
            texts(after(&path, &first).unwrap().into_iter().collect()),
            ["2"],
            "the oldest that is left"
        );
        rotate("6");
        assert_eq!(
            texts(after(&path, &first).unwrap().into_iter().collect()),
            ["3"],
            "the oldest that is left"
        );
    }
}
