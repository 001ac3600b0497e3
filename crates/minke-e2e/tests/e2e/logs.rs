//! `logs`: the json-file format, its rotation, and reading it.

use minke_e2e::{case, once, within};

#[test]
fn logs_come_apart_by_stream_and_in_order() {
    case(|rig| {
        rig.ok("run -d --name one busybox sh -c 'for i in 1 2 3; do echo out$i; echo err$i >&2; sleep 0.05; done'");
        rig.ok("wait one");
        let output = rig.cli("logs one");
        assert_eq!(output.text(), "out1\nout2\nout3");
        assert_eq!(output.stderr, "err1\nerr2\nerr3\n");
        let last = rig.cli("logs --tail 1 one"); // which of the two pipes was read last is not said
        assert!((last.text() + &last.stderr) == "out3" || last.stderr == "err3\n", "{last:?}");
        assert_eq!(rig.ok("logs --tail 0 one"), "");
        assert_eq!(rig.ok("logs --tail all one"), "out1\nout2\nout3");
        let line = rig.ok("logs -t one").lines().next().unwrap_or_default().to_string();
        let (time, text) = line.split_once(' ').expect("a time before the text");
        assert!(time.len() == 30 && time.ends_with('Z') && text == "out1", "{line}");
        assert_eq!(rig.ok(&format!("logs --until {time} one")).lines().count(), 1);
        assert_eq!(rig.ok("logs --since 2100-01-01 one"), "");
    });
}

#[test]
fn the_file_has_docker_s_format() {
    once(|rig| {
        rig.ok("run -d --name one busybox printf 'a\\nb\\\\c\\t\\033\\n<&>\\nend'");
        rig.ok("wait one");
        let file = rig.inspect("one")["LogPath"].as_str().expect("a path").to_string();
        let text = std::fs::read_to_string(file).expect("the log is readable");
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            r#"{"log":"a\n","#,
            r#"{"log":"b\\c\u0009\u001b\n","#,
            r#"{"log":"\u003c\u0026\u003e\n","#,
            r#"{"log":"end","#,
        ];
        let other = [
            r#"{"log":"a\n","#,
            r#"{"log":"b\\c\t\u001b\n","#,
            r#"{"log":"\u003c\u0026\u003e\n","#,
            r#"{"log":"end","#,
        ];
        assert_eq!(lines.len(), 4, "{text}");
        for ((line, one), two) in lines.iter().zip(expected).zip(other) {
            assert!(line.starts_with(one) || line.starts_with(two), "{line}");
            assert!(line.contains(r#""stream":"stdout","time":"20"#) && line.ends_with("Z\"}"), "{line}");
        }
    });
}

#[test]
fn long_lines_are_kept_in_parts_and_read_whole() {
    case(|rig| {
        rig.ok("run -d --name one busybox sh -c 'head -c 50000 /dev/zero | tr \"\\0\" x; echo; echo next'");
        rig.ok("wait one");
        let text = rig.ok("logs one");
        assert_eq!((text.len(), text.lines().count()), (50_005, 2));
        let file = rig.inspect("one")["LogPath"].as_str().expect("a path").to_string();
        let text = std::fs::read_to_string(file).expect("the log is readable");
        assert_eq!(text.lines().count(), 5, "16 KiB a part");
        assert_eq!(
            text.lines().next().map(|line| line.starts_with("{\"log\":\"xxx") && !line.contains("\\n")),
            Some(true)
        );
    });
}

#[test]
fn following_goes_on_to_the_container_s_end() {
    case(|rig| {
        rig.ok(
            "run -d -i --name one busybox sh -c 'echo first; sleep 0.3; echo second; sleep 0.3; echo third'",
        );
        let follow = rig.spawn("logs -f one");
        follow.expect("first");
        follow.expect("third");
        let output = follow.wait();
        assert_eq!((output.code, output.text().as_str()), (0, "first\nsecond\nthird"));
        assert_eq!(rig.ok("logs -f one"), "first\nsecond\nthird");
    });
}

#[test]
fn rotation_keeps_as_much_as_asked() {
    case(|rig| {
        rig.ok("run -d --name one --log-opt max-size=10k --log-opt max-file=3 busybox sh -c 'i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done'");
        rig.ok("wait one");
        let file = rig.inspect("one")["LogPath"].as_str().expect("a path").to_string();
        let folder = std::path::Path::new(&file).parent().expect("a folder").to_path_buf();
        let sizes: Vec<u64> = std::fs::read_dir(folder)
            .expect("a folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains("-json.log"))
            .map(|entry| entry.metadata().expect("a file").len())
            .collect();
        assert_eq!(sizes.len(), 3, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size <= 11_000), "{sizes:?}");
        let text = rig.ok("logs one");
        let numbers: Vec<u32> =
            text.lines().filter_map(|line| line.strip_prefix("line ")?.parse().ok()).collect();
        assert!(numbers.len() > 150 && numbers.last() == Some(&999), "{} lines", numbers.len());
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "without a gap");
    });
}

#[test]
fn without_a_log_there_is_nothing_to_read() {
    case(|rig| {
        assert_eq!(rig.ok("run --name one --log-driver none busybox echo hello"), "hello");
        let output = rig.cli("logs one");
        assert_ne!(output.code, 0);
        assert!(
            output.stderr.contains("configured logging driver does not support reading"),
            "{}",
            output.stderr
        );
        rig.fails("run --log-driver nonsense busybox true", 125, "nonsense");
        rig.fails(
            "run --log-opt nonsense=1 busybox true",
            125,
            "unknown log opt 'nonsense' for json-file log driver",
        );
    });
}

#[test]
fn what_is_attached_is_in_the_log_as_well() {
    case(|rig| {
        assert_eq!(rig.ok("run --name one busybox echo hello"), "hello");
        within(10, "the log has it", || (rig.ok("logs one") == "hello").then_some(()));
        rig.ok("start -a one");
        assert_eq!(rig.ok("logs one"), "hello\nhello");
    });
}

/// Checks that a text's lines are the numbers from 1 to `last`.
fn counts_to(text: &str, last: u32) {
    let mut expected = 1;
    for number in numbers(text) {
        assert_eq!(number, expected);
        expected += 1;
    }
    assert_eq!(expected - 1, last);
}

/// The numbers that a text's lines are.
fn numbers(text: &str) -> Vec<u32> {
    text.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("no number: {line:?}"))).collect()
}

#[test]
fn who_follows_reads_no_line_twice_or_never_while_the_log_is_rotated() {
    once(|rig| {
        let last = 20_000;
        let log = "--log-opt max-size=20k --log-opt max-file=500";
        rig.ok(&format!("run -d -i --name one {log} busybox sh -c 'read x; seq 1 {last}; read x'"));
        let followers: Vec<_> = (0..3).map(|_| rig.spawn("logs -f one")).collect();
        let mut gate = rig.spawn("attach one");
        gate.write(b"go\n");
        followers[0].expect("\n1000\n");
        let late = rig.spawn("logs -f one");
        followers[0].expect(&format!("\n{last}\n"));
        gate.write(b"end\n");
        for follower in followers.into_iter().chain([late]) {
            counts_to(&follower.wait().text(), last);
        }
        counts_to(&rig.ok("logs one"), last);
    });
}

#[test]
fn a_log_of_one_file_is_never_read_from_its_middle() {
    once(|rig| {
        let last = 20_000;
        let log = "--log-opt max-size=20k --log-opt max-file=1";
        rig.ok(&format!("run -d -i --name one {log} busybox sh -c 'read x; seq 1 {last}'"));
        let follower = rig.spawn("logs -f one");
        let mut gate = rig.spawn("attach one");
        gate.write(b"go\n");
        let seen = numbers(&follower.wait().text());
        assert!(seen.is_sorted_by(|one, next| one < next), "none comes twice, none is torn");
        assert_eq!(seen.last(), Some(&last));
    });
}

#[test]
fn facts_of_the_container_stand_in_each_line() {
    case(|rig| {
        rig.ok("run --name one --label tier=front --label other=x -e APP=a -e B=2 --log-opt labels=tier --log-opt env-regex=^A --log-opt tag={{.Name}}/{{.ImageName}} busybox echo hello");
        let file = rig.inspect("one")["LogPath"].as_str().expect("a path").to_string();
        let text = std::fs::read_to_string(file).expect("the log is readable");
        let line: serde_json::Value = serde_json::from_str(text.trim()).expect("JSON");
        assert_eq!(line["attrs"], serde_json::json!({"tier": "front", "APP": "a", "tag": "one/busybox"}));
        assert_eq!(rig.ok("logs --details one"), "APP=a,tag=one%2Fbusybox,tier=front hello");
        assert_eq!(rig.ok("logs one"), "hello");
    });
}

#[test]
fn the_local_driver_is_rotated_and_read_in_every_way() {
    once(|rig| {
        let last = 5_000;
        let log = "--log-driver local --log-opt max-size=20k --log-opt max-file=100 --log-opt tag=t";
        rig.ok(&format!("run -d -i --name one {log} busybox sh -c 'read x; seq 1 {last}; read x'"));
        let follower = rig.spawn("logs -f one");
        let mut gate = rig.spawn("attach one");
        gate.write(b"go\n");
        follower.expect(&format!("\n{last}\n"));
        gate.write(b"end\n");
        counts_to(&follower.wait().text(), last);
        counts_to(&rig.ok("logs one"), last);
        assert_eq!(rig.ok("logs --tail 2 one"), format!("{}\n{last}", last - 1));
        assert_eq!(rig.ok("logs --details --tail 1 one"), format!("tag=t {last}"));
        assert_eq!(rig.ok("logs --since 2100-01-01 one"), "");
        assert_eq!(rig.ok("logs --until 2000-01-01 one"), "");
        rig.ok("run --name long --log-driver local busybox sh -c 'head -c 50000 /dev/zero | tr \"\\0\" x; echo; printf end >&2'");
        let output = rig.cli("logs long");
        assert_eq!((output.text().len(), output.stderr.as_str()), (50_000, "end"));
        assert_eq!(rig.inspect("one")["LogPath"], "");
        rig.fails(
            "run --log-driver local --log-opt x=1 busybox true",
            125,
            "unknown log opt 'x' for log driver local",
        );
    });
}

#[test]
fn a_log_that_is_being_written_is_read_to_where_it_was() {
    case(|rig| {
        rig.ok("run -d --name main busybox sh -c 'i=0; while :; do i=$((i+1)); echo $i; usleep 200; done'");
        rig.await_log("main", "\n100\n");
        for _ in 0..30 {
            let text = rig.ok("logs --tail 5 main");
            let seen = numbers(&text);
            assert!(seen.len() == 5 && seen.windows(2).all(|pair| pair[1] == pair[0] + 1), "{text}");
        }
        // To its end, though there is always more.
        assert!(numbers(&rig.ok("logs main")).len() > 100);
    });
}
