use std::io::Read as _;

use super::*;

fn texts(files: Vec<LogFile>) -> Vec<String> {
    let text = |file: LogFile| {
        let mut text = String::new();
        crate::log::packed::content(&file).read_to_string(&mut text).unwrap();
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
    let first = LogFile::plain(File::open(&path).unwrap());
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

/// As above, with what a shim does besides: older files are packed while readers open them, and the oldest are given up. The mutex is
/// the shim, which does one thing at a time.
#[test]
fn every_file_is_found_once_and_in_order_while_the_log_is_rotated_and_packed() {
    use minke_sys::rotation::Names;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use crate::log::pack::{self, Outcome};

    const LAST: usize = 600;
    const KEPT: u32 = 40;
    let folder = tempfile::tempdir().unwrap();
    pack::prepare(folder.path()).unwrap();
    std::fs::create_dir(folder.path().join("log")).unwrap();
    let path = folder.path().join("log/x");
    let names = Names { path: path.to_str().unwrap(), files: KEPT, packs: true };
    let shim = Mutex::new(());
    let done = AtomicBool::new(false);
    let packed = AtomicUsize::new(0);
    // As long numbers, so that one that is torn is none.
    let text = |number: usize| format!("{number:09}");
    std::fs::write(&path, text(0)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=LAST {
                // However slow the disk is: there is always something to pack, and it is.
                while packed.load(Ordering::SeqCst) < number / 20 {
                    std::thread::yield_now();
                }
                let _shim = shim.lock().unwrap();
                names.rotate();
                std::fs::write(&path, text(number)).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                match pack::newest(&path, folder.path(), false, &[]).unwrap() {
                    Outcome::Packed(made) => {
                        let _shim = shim.lock().unwrap();
                        let made_at = made.path.to_str().unwrap();
                        if names.replace(&made.of, made_at).is_ok() {
                            packed.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    Outcome::GivenUp | Outcome::Nothing => {}
                }
            }
        });
        let follower = scope.spawn(|| {
            // One that follows reads every file but those that were given up before it came to them, each once.
            let mut last: Option<(LogFile, usize)> = None;
            loop {
                let ended = done.load(Ordering::SeqCst);
                let next = match &last {
                    None => open_all(&path).unwrap().into_iter().next(),
                    Some((file, _)) => after(&path, file, &mut 0).unwrap(),
                };
                let Some(next) = next else {
                    if ended {
                        return last.unwrap().1;
                    }
                    continue;
                };
                // The newest is empty for a moment.
                let number = loop {
                    let mut text = String::new();
                    crate::log::packed::content(&next).read_to_string(&mut text).unwrap();
                    if text.len() == 9 {
                        break text.parse::<usize>().unwrap();
                    }
                };
                let before = last.as_ref().map(|(_, number)| *number);
                assert!(before.is_none_or(|before| before < number), "{before:?} before {number}");
                if before.is_some_and(|before| before + 1 < number) {
                    assert!(last.unwrap().0.is_gone().unwrap(), "{before:?} before {number}");
                }
                last = Some((next, number));
            }
        });
        while !done.load(Ordering::SeqCst) {
            let mut texts = texts(open_all(&path).unwrap());
            if texts.last().is_some_and(String::is_empty) {
                texts.pop();
            }
            let numbers: Vec<usize> = texts.iter().map(|text| text.parse().unwrap()).collect();
            // Whatever was given up while it was opened is the beginning.
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
            let kept = numbers.len().saturating_sub(KEPT as usize / 2);
            assert!(numbers[kept..].windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        }
        assert_eq!(follower.join().unwrap(), LAST);
    });
    // Nobody reads any more: what is left is packed at once.
    while let Outcome::Packed(made) = pack::newest(&path, folder.path(), false, &[]).unwrap() {
        names.replace(&made.of, made.path.to_str().unwrap()).unwrap();
    }
    let files = open_all(&path).unwrap();
    assert!(files[..KEPT as usize - 1].iter().all(LogFile::is_packed));
    let expected: Vec<String> = (LAST + 1 - KEPT as usize..=LAST).map(text).collect();
    assert_eq!(texts(files), expected);
}

#[test]
fn what_somebody_has_open_is_not_packed_but_can_be_found() {
    use minke_sys::rotation::Names;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let names = Names { path: path.to_str().unwrap(), files: 5, packs: true };
    std::fs::write(&path, "1").unwrap();
    let reader = open_all(&path).unwrap().remove(0);
    names.rotate();
    std::fs::write(&path, "2").unwrap();
    let of = File::open(name(&path, 1)).unwrap();
    let made = folder.path().join("made");
    std::fs::write(&made, "").unwrap();
    let replace = || names.replace(&of, made.to_str().unwrap());
    assert_eq!(replace(), Err(minke_sys::Errno::AGAIN));
    let next = after(&path, &reader, &mut 0).unwrap().unwrap();
    assert_eq!(texts(vec![next]), ["2"]);
    drop(reader);
    assert_eq!(replace(), Ok(()));
    assert!(open_all(&path).unwrap()[0].is_packed());
}
