//! More of what is measured: files of containers, many at once, and what containers use.

use std::io::Write;
use std::process::Command;

use anyhow::Result;

use crate::bench::{Bar, Contender, Row, Stage, medians, timed};
use crate::run;

/// The size of the file that is copied and committed, in MiB.
const FILE_MB: usize = 200;

fn milliseconds(command: &mut Command) -> Result<f64> {
    Ok(timed(command)?.as_secs_f64() * 1000.0)
}

/// A name, and what makes a command of a line.
type Side<'a> = (&'static str, Box<dyn Fn(&str) -> Command + 'a>);

/// Our command line with our engine, and the docker client with dockerd.
fn sides(stage: &Stage) -> [Side<'_>; 2] {
    [("minke", Box::new(|line: &str| stage.own(line))), ("docker", Box::new(|line: &str| stage.docker(line)))]
}

/// Measures one line on both sides, with lines that are not timed before and after it.
fn both(
    stage: &Stage,
    rounds: usize,
    before: &[&str],
    line: &str,
    after: &[&str],
) -> Result<Vec<(String, f64)>> {
    let sides = sides(stage);
    let mut contenders: Vec<Contender<'_>> = Vec::new();
    for (name, side) in &sides {
        contenders.push((
            name,
            Box::new(move || {
                for line in before {
                    timed(&mut side(line))?;
                }
                let taken = milliseconds(&mut side(line))?;
                for line in after {
                    timed(&mut side(line))?;
                }
                Ok(taken)
            }),
        ));
    }
    medians(rounds, &mut contenders)
}

/// `cp` in and out, and `commit`.
pub fn files(stage: &mut Stage) -> Result<Vec<Row>> {
    let big = stage.folder.join("big");
    let mut file = std::fs::File::create(&big)?;
    let mut random = std::io::Read::take(std::fs::File::open("/dev/urandom")?, 1 << 20);
    let mut block = Vec::new();
    std::io::Read::read_to_end(&mut random, &mut block)?;
    for _ in 0..FILE_MB {
        file.write_all(&block)?;
    }
    drop(file);
    for (_, side) in sides(stage) {
        timed(&mut side("run -d --network none --name bench busybox sleep 100000"))?;
    }
    let within = both(stage, 5, &[], &format!("cp {} bench:/big", big.display()), &[])?;
    let out = both(stage, 5, &[], &format!("cp bench:/big {}", stage.folder.join("out").display()), &[])?;
    let commit = both(stage, 5, &[], "commit bench made", &["rmi made"])?;
    stage.clear()?;
    for name in ["big", "out"] {
        let _ = std::fs::remove_file(stage.folder.join(name));
    }
    let row = |what: &str, figures, share| Row { what: what.into(), figures, bar: Bar::ShareOf(1, share) };
    Ok(vec![
        row("`cp` of 200 MB in, ms", within, 0.8),
        row("`cp` of 200 MB out, ms", out, 0.8),
        row("`commit` of 200 MB, ms", commit, 0.5),
    ])
}

/// `stop -t 0` of 50 containers by one command.
pub fn stop(stage: &mut Stage) -> Result<Vec<Row>> {
    let names: Vec<String> = (0..50).map(|number| format!("bench{number}")).collect();
    for (_, side) in sides(stage) {
        for name in &names {
            timed(&mut side(&format!("create --network none --name {name} busybox sleep 100000")))?;
        }
    }
    let names = names.join(" ");
    let figures = both(stage, 2, &[&format!("start {names}")], &format!("stop -t 0 {names}"), &[])?;
    stage.clear()?;
    Ok(vec![Row { what: "`stop -t 0` of 50, ms".into(), figures, bar: Bar::ShareOf(1, 0.1) }])
}

/// `stats --no-stream` of a container that may use half a processor and wants all of one: how long it takes, and what it says.
pub fn stats(stage: &mut Stage) -> Result<Vec<Row>> {
    for (_, side) in sides(stage) {
        timed(&mut side(
            "run -d --network none --cpus 0.5 --name bench busybox sh -c 'while :; do :; done'",
        ))?;
    }
    let figures = both(stage, 5, &[], "stats --no-stream bench", &[])?;
    let mut furthest: f64 = 0.0;
    for _ in 0..5 {
        let said = run::output(&mut stage.own("stats --no-stream --format {{.CPUPerc}} bench"))?;
        let percent: f64 = said.trim().trim_end_matches('%').parse()?;
        furthest = furthest.max((percent - 50.0).abs());
    }
    stage.clear()?;
    Ok(vec![
        Row { what: "`stats --no-stream`, ms".into(), figures, bar: Bar::ShareOf(1, 0.1) },
        Row {
            what: "its CPU column beside a load of 50 %, furthest of 5, points".into(),
            figures: vec![("minke".into(), furthest)],
            bar: Bar::Most(10.0),
        },
    ])
}
