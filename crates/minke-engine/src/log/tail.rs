//! Where the last n lines of a log begin: files are read backwards in blocks, from the newest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::files::LogFile;
use super::packed;

const BLOCK: usize = 64 * 1024;

/// What an entry that ends a line has before its stream: `\n` in JSON, then the closing quote.
const END_OF_LINE: &[u8] = br#"\n","stream":"#;

/// The index of the file and the offset in it where the last `lines` lines begin, the newest file taken to be `end` bytes long: it may
/// be growing. `local`: they are in that format, else json-file.
pub fn start_of(files: &[LogFile], local: bool, lines: u64, end: u64) -> io::Result<(usize, u64)> {
    let mut wanted = lines;
    for (index, file) in files.iter().enumerate().rev() {
        let end = if index + 1 == files.len() { end } else { file.file().metadata()?.len() };
        let start = match (file.is_packed(), local) {
            (true, _) => packed::start_in(file, local, &mut wanted),
            (false, true) => super::local::start_in(file.file(), end, &mut wanted)?,
            (false, false) => start_in(file.file(), end, &mut wanted)?,
        };
        if let Some(offset) = start {
            return Ok((index, offset));
        }
    }
    Ok((0, 0))
}

/// The offset behind the entry that precedes the last `wanted` lines, or `None` when the file has fewer; then `wanted` is
/// what is still missing.
fn start_in(file: &File, mut end: u64, wanted: &mut u64) -> io::Result<Option<u64>> {
    let mut pending = Vec::new();
    let mut entry_end = end;
    while end > 0 {
        let length = BLOCK.min(end as usize);
        let start = end - length as u64;
        let mut block = vec![0; length];
        file.read_exact_at(&mut block, start)?;
        block.extend_from_slice(&pending);
        pending = block;
        while let Some(newline) = last_newline(&pending, (entry_end - start) as usize) {
            let after = start + newline as u64 + 1;
            if ends_line(&pending[newline + 1..(entry_end - start) as usize]) {
                if *wanted == 0 {
                    return Ok(Some(entry_end));
                }
                *wanted -= 1;
            }
            entry_end = after;
            pending.truncate((entry_end - start) as usize);
        }
        end = start;
    }
    if ends_line(&pending) {
        if *wanted == 0 {
            return Ok(Some(entry_end));
        }
        *wanted -= 1;
    }
    Ok(None)
}

/// The last newline before the one that ends the text `bytes[..end]`.
fn last_newline(bytes: &[u8], end: usize) -> Option<usize> {
    bytes[..end.saturating_sub(1)].iter().rposition(|byte| *byte == b'\n')
}

/// Whether a line ends with this entry of a json-file.
pub fn ends_line(entry: &[u8]) -> bool {
    entry.windows(END_OF_LINE.len()).any(|window| window == END_OF_LINE)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn file(entries: &[(&str, bool)]) -> LogFile {
        let mut file = tempfile::tempfile().unwrap();
        for (text, ends) in entries {
            let newline = if *ends { "\\n" } else { "" };
            writeln!(file, r#"{{"log":"{text}{newline}","stream":"stdout","time":"2024-01-02T03:04:05Z"}}"#)
                .unwrap();
        }
        LogFile::plain(file)
    }

    fn rest(files: &[LogFile], lines: u64) -> Vec<String> {
        let end = files.last().unwrap().file().metadata().unwrap().len();
        let (index, offset) = start_of(files, false, lines, end).unwrap();
        let mut texts = Vec::new();
        for (number, file) in files.iter().enumerate().skip(index) {
            let from = if number == index { offset } else { 0 };
            let mut bytes = Vec::new();
            packed::content(file).read_to_end(&mut bytes).unwrap();
            bytes.drain(..from as usize);
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let value: serde_json::Value = serde_json::from_slice(line).unwrap();
                texts.push(value["log"].as_str().unwrap().to_owned());
            }
        }
        texts
    }

    #[test]
    fn the_last_lines_are_found_over_files_blocks_and_parts() {
        let long = "x".repeat(BLOCK);
        let files = [file(&[("1", true), ("2", true)]), file(&[(&long, false), ("3", true), ("4", true)])];
        let all = ["1\n".to_owned(), "2\n".into(), long.clone(), "3\n".into(), "4\n".into()];
        for (lines, expected) in [(0, 5), (1, 4), (2, 2), (3, 1), (4, 0), (9, 0)] {
            assert_eq!(rest(&files, lines), all[expected..], "tail {lines}");
        }
    }

    #[test]
    fn many_short_entries_in_one_block() {
        let texts: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
        let entries: Vec<(&str, bool)> = texts.iter().map(|text| (text.as_str(), true)).collect();
        let files = [file(&entries)];
        assert_eq!(rest(&files, 3), ["4997\n", "4998\n", "4999\n"]);
    }
}
