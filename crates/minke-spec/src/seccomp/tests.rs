//! Compiled filters against a naive reading of their rules: every system call number, argument corner cases.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompOperator};

use super::interpreter::{Call, run};
use super::syscalls::Abi;
use super::*;
use crate::capabilities;
use crate::host::Architecture;

const DEFAULT_SET: u64 = 0xa804_25fb;
const ALL: u64 = (1 << 41) - 1;

fn host(architecture: Architecture) -> HostFacts {
    HostFacts { architecture, ..HostFacts::example_v2() }
}

fn word(action: LinuxSeccompAction, errno: Option<u32>) -> u32 {
    match action {
        LinuxSeccompAction::ScmpActAllow => 0x7fff_0000,
        LinuxSeccompAction::ScmpActErrno => 0x0005_0000 | errno.unwrap_or(1),
        LinuxSeccompAction::ScmpActKillProcess => 0x8000_0000,
        LinuxSeccompAction::ScmpActLog => 0x7ffc_0000,
        other => panic!("no test uses {other}"),
    }
}

/// The rules of a filter by number, and the naive reading of them.
struct Naive {
    abi: Abi,
    default: u32,
    /// Per number: word, conditions.
    rules: HashMap<u32, Vec<(u32, Vec<oci_spec::runtime::LinuxSeccompArg>)>>,
    last: Option<u32>,
}

impl Naive {
    fn new(filter: &LinuxSeccomp, abi: Abi) -> Self {
        let default = word(filter.default_action(), filter.default_errno_ret());
        let mut naive = Naive { abi, default, rules: HashMap::new(), last: None };
        for rule in filter.syscalls().iter().flatten() {
            for number in rule.names().iter().filter_map(|name| abi.number(name)) {
                naive.last = naive.last.max(Some(number));
                let row = (word(rule.action(), rule.errno_ret()), rule.args().clone().unwrap_or_default());
                naive.rules.entry(number).or_default().push(row);
            }
        }
        naive
    }

    fn holds(&self, arg: &oci_spec::runtime::LinuxSeccompArg, args: &[u64; 6]) -> bool {
        let narrow = |value: u64| if self.abi.is_32_bit() { value as u32 as u64 } else { value };
        let (found, value) = (narrow(args[arg.index()]), narrow(arg.value()));
        match arg.op() {
            LinuxSeccompOperator::ScmpCmpNe => found != value,
            LinuxSeccompOperator::ScmpCmpLt => found < value,
            LinuxSeccompOperator::ScmpCmpLe => found <= value,
            LinuxSeccompOperator::ScmpCmpEq => found == value,
            LinuxSeccompOperator::ScmpCmpGe => found >= value,
            LinuxSeccompOperator::ScmpCmpGt => found > value,
            LinuxSeccompOperator::ScmpCmpMaskedEq => found & value == narrow(arg.value_two().unwrap_or(0)),
        }
    }

    fn answer(&self, number: u32, args: &[u64; 6]) -> u32 {
        let newer = self.last.is_some_and(|last| number > last);
        if newer && self.default != 0x7fff_0000 && self.default != 0x7ffc_0000 {
            return 0x0005_0000 | 38;
        }
        let Some(rules) = self.rules.get(&number) else { return self.default };
        let rules: Vec<_> = rules.iter().filter(|(word, _)| *word != self.default).collect();
        if let Some((word, _)) = rules.iter().find(|(_, conditions)| conditions.is_empty()) {
            return *word;
        }
        let found = rules.iter().find(|(_, conditions)| conditions.iter().all(|arg| self.holds(arg, args)));
        found.map_or(self.default, |(word, _)| *word)
    }
}

fn argument_cases(filter: &LinuxSeccomp) -> Vec<[u64; 6]> {
    let mut values = vec![0, 1, u64::MAX, 1 << 32, u64::from(u32::MAX), 1 << 63];
    for arg in filter.syscalls().iter().flatten().flat_map(|rule| rule.args().iter().flatten()) {
        for base in [arg.value(), arg.value_two().unwrap_or(0)] {
            let near = [
                base,
                base.wrapping_sub(1),
                base.wrapping_add(1),
                base | 1 << 32,
                base & u64::from(u32::MAX),
                !base,
            ];
            values.extend(near);
        }
    }
    values.sort_unstable();
    values.dedup();
    let mut cases: Vec<[u64; 6]> = Vec::new();
    for (shift, value) in values.iter().enumerate() {
        cases.push([*value; 6]);
        let mut mixed = [0; 6];
        for (index, slot) in mixed.iter_mut().enumerate() {
            *slot = values[(shift + index * 7) % values.len()];
        }
        cases.push(mixed);
    }
    cases
}

/// Compares over every number of a convention, and some beyond.
fn compare(filter: &LinuxSeccomp, host: &HostFacts, abis: &[Abi]) {
    let (program, _) = compile_filter(filter, host).expect("compiles");
    let cases = argument_cases(filter);
    for abi in abis {
        let naive = Naive::new(filter, *abi);
        let base = if *abi == Abi::X32 { super::syscalls::X32_BIT } else { 0 };
        let tail = abi.table().iter().map(|(_, number)| *number).max().unwrap_or(0);
        for number in (base..base + 1200).chain([tail, tail.saturating_add(1), base + 0x10_0000]) {
            let conditional =
                naive.rules.get(&number).is_some_and(|rules| rules.iter().any(|rule| !rule.1.is_empty()));
            for args in if conditional { &cases[..] } else { &cases[..1] } {
                let call = Call { number, audit: abi.audit(), args: *args };
                let (is, should) = (run(&program, &call), naive.answer(number, args));
                assert_eq!(is, should, "{abi:?} {number} {args:x?}: {is:#x} instead of {should:#x}");
            }
        }
    }
}

#[test]
fn docker_s_profile_does_what_its_rules_say_with_any_capabilities() {
    let profile = docker_profile().expect("profile");
    for capabilities in [DEFAULT_SET, 0, ALL, 1 << 21, 1 << 39, DEFAULT_SET | 1 << 21] {
        for (architecture, abis) in [
            (Architecture::X86_64, &[Abi::X86_64, Abi::X86, Abi::X32][..]),
            (Architecture::Aarch64, &[Abi::Aarch64, Abi::Arm]),
        ] {
            let host = host(architecture);
            compare(&profile.resolve(capabilities, &host).expect("resolves"), &host, abis);
        }
    }
}

fn call(name: &str, args: [u64; 6]) -> Call {
    let number = Abi::X86_64.number(name).expect("a call of x86-64");
    Call { number, audit: Abi::X86_64.audit(), args }
}

fn docker_program(capabilities: u64) -> Vec<u64> {
    ProgramCache::default().program(None, capabilities, &host(Architecture::X86_64)).expect("compiles").0
}

#[test]
fn docker_s_profile_blocks_and_allows_what_its_users_know() {
    let program = docker_program(DEFAULT_SET);
    const ALLOW: u32 = 0x7fff_0000;
    for (name, args, expected) in [
        ("read", [0; 6], ALLOW),
        ("mount", [0; 6], 0x0005_0001),
        ("clone", [0x11, 0, 0, 0, 0, 0], ALLOW),
        ("clone", [0x1000_0000, 0, 0, 0, 0, 0], 0x0005_0001),
        ("clone3", [0; 6], 0x0005_0000 | 38),
        ("personality", [0xffff_ffff, 0, 0, 0, 0, 0], ALLOW),
        ("personality", [0x4_0000, 0, 0, 0, 0, 0], 0x0005_0001),
        ("socket", [2, 0, 0, 0, 0, 0], ALLOW),
        ("socket", [38, 0, 0, 0, 0, 0], 0x0005_0001),
        ("socket", [40, 0, 0, 0, 0, 0], 0x0005_0001),
        ("chroot", [0; 6], ALLOW),
    ] {
        assert_eq!(run(&program, &call(name, args)), expected, "{name} {args:?}");
    }
    let all = docker_program(ALL);
    for name in ["mount", "clone3", "bpf", "reboot", "clone"] {
        assert_eq!(run(&all, &call(name, [0x1000_0000; 6])), ALLOW, "{name}");
    }
}

#[test]
fn another_architecture_is_killed() {
    let program = docker_program(DEFAULT_SET);
    let call = Call { number: 0, audit: Abi::Aarch64.audit(), args: [0; 6] };
    assert_eq!(run(&program, &call), 0);
}

#[test]
fn x32_calls_are_killed_where_the_filter_leaves_x32_out() {
    let filter: LinuxSeccomp = serde_json::from_value(serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]
    }))
    .expect("filter");
    let (program, flags) = compile_filter(&filter, &host(Architecture::X86_64)).expect("compiles");
    assert_eq!(flags, FLAG_SPEC_ALLOW);
    let mut call = call("read", [0; 6]);
    assert_eq!(run(&program, &call), 0x7fff_0000);
    call.number = 0x4000_0000;
    assert_eq!(run(&program, &call), 0);
    call.number = u32::MAX;
    assert_eq!(run(&program, &call), 0x7fff_0000);
}

#[test]
fn every_operator_compares_all_64_bits() {
    let syscalls: Vec<_> = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]
        .iter()
        .zip(["read", "write", "open", "close", "stat", "fstat", "lstat"])
        .map(|(operator, name)| {
            serde_json::json!({
                "names": [name], "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": 1, "value": 0x1_0000_0005u64, "valueTwo": 0x1_0000_0001u64, "op": format!("SCMP_CMP_{operator}")},
                    {"index": 3, "value": 7, "valueTwo": 4, "op": format!("SCMP_CMP_{operator}")}
                ]
            })
        })
        .collect();
    let filter = serde_json::json!({
        "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"], "syscalls": syscalls
    });
    let filter: LinuxSeccomp = serde_json::from_value(filter).expect("filter");
    compare(&filter, &host(Architecture::X86_64), &[Abi::X86_64, Abi::X86]);
}

#[test]
fn many_conditions_on_one_argument_are_alternatives_and_reach_far() {
    let args: Vec<_> =
        (0..60).map(|n| serde_json::json!({"index": 0, "value": n * 3, "op": "SCMP_CMP_EQ"})).collect();
    let names: Vec<_> = ["read", "write", "open", "close", "ioctl", "mount"]
        .iter()
        .map(|name| serde_json::json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args}))
        .collect();
    let filter = serde_json::json!({"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": names});
    let filter: LinuxSeccomp = serde_json::from_value(filter).expect("filter");
    let (program, _) = compile_filter(&filter, &host(Architecture::X86_64)).expect("compiles");
    for (value, expected) in
        [(0, 0x7fff_0000), (177, 0x7fff_0000), (178, 0x8000_0000), (3 << 32, 0x8000_0000)]
    {
        for name in ["read", "ioctl", "mount"] {
            assert_eq!(run(&program, &call(name, [value; 6])), expected, "{name} {value}");
        }
    }
    assert_eq!(run(&program, &call("stat", [0; 6])), 0x8000_0000);
}

#[test]
fn a_simple_filter_does_what_seccompiler_s_does() {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let condition = |index, op, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Qword, op, value).expect("condition")
    };
    let rules = [
        (0, vec![]),
        (1, vec![SeccompRule::new(vec![condition(0, SeccompCmpOp::Gt, 1 << 33)]).expect("rule")]),
        (
            16,
            vec![
                SeccompRule::new(vec![condition(1, SeccompCmpOp::Le, 5), condition(2, SeccompCmpOp::Ne, 9)])
                    .expect("rule"),
                SeccompRule::new(vec![condition(3, SeccompCmpOp::MaskedEq(0xff00), 0x1200)]).expect("rule"),
            ],
        ),
        (59, vec![]),
    ];
    let oracle: seccompiler::BpfProgram = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Log,
        SeccompAction::Allow,
        seccompiler::TargetArch::x86_64,
    )
    .and_then(TryInto::try_into)
    .expect("the oracle compiles");
    let oracle: Vec<u64> = oracle
        .iter()
        .map(|row| {
            u64::from(row.code) | u64::from(row.jt) << 16 | u64::from(row.jf) << 24 | u64::from(row.k) << 32
        })
        .collect();
    let filter: LinuxSeccomp = serde_json::from_value(serde_json::json!({
        "defaultAction": "SCMP_ACT_LOG",
        "syscalls": [
            {"names": ["read", "execve"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["write"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1u64 << 33, "op": "SCMP_CMP_GT"}]},
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 1, "value": 5, "op": "SCMP_CMP_LE"}, {"index": 2, "value": 9, "op": "SCMP_CMP_NE"}]},
            {"names": ["ioctl"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 3, "value": 0xff00, "valueTwo": 0x1200, "op": "SCMP_CMP_MASKED_EQ"}]}
        ]
    }))
    .expect("filter");
    let (ours, _) = compile_filter(&filter, &host(Architecture::X86_64)).expect("compiles");
    for number in 0..500 {
        for args in argument_cases(&filter) {
            let call = Call { number, audit: Abi::X86_64.audit(), args };
            assert_eq!(run(&ours, &call), run(&oracle, &call), "{call:x?}");
        }
    }
}

#[test]
fn docker_s_program_is_short_and_its_search_is_shallow() {
    let program = docker_program(DEFAULT_SET);
    assert!(program.len() < 700, "{} instructions", program.len());
    assert!(
        program.iter().all(|bits| matches!(*bits as u16, 0x20 | 0x54 | 0x05 | 0x06 | 0x15 | 0x25 | 0x35))
    );
}

#[test]
fn the_cache_tells_profiles_and_capabilities_apart() {
    let cache = ProgramCache::default();
    let host = host(Architecture::X86_64);
    let first = cache.program(None, DEFAULT_SET, &host).expect("compiles");
    assert_eq!(cache.program(None, DEFAULT_SET, &host).expect("cached"), first);
    assert_ne!(cache.program(None, ALL, &host).expect("compiles"), first);
    let own =
        cache.program(Some(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#), DEFAULT_SET, &host).expect("compiles");
    assert!(own.0.len() < 20);
}

#[test]
fn profiles_that_contradict_themselves_are_refused_in_docker_s_words() {
    for (text, message) in [
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],"archMap":[{"architecture":"SCMP_ARCH_X86_64"}]}"#,
            "'architectures' and 'archMap' were specified in the seccomp profile, use either 'architectures' or 'archMap'",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
            "'name' and 'names' were specified in the seccomp profile, use either 'name' or 'names'",
        ),
    ] {
        assert_eq!(parse_profile(text).expect_err("refused").to_string(), message);
    }
    assert!(
        parse_profile("{").expect_err("refused").to_string().starts_with("decoding seccomp profile failed: ")
    );
}

#[test]
fn kernels_without_filters_run_docker_s_profile_only() {
    let host = HostFacts { seccomp_actions: Vec::new(), ..HostFacts::example_v2() };
    let cache = ProgramCache::default();
    assert_eq!(cache.program(None, 0, &host).expect("none"), (Vec::new(), 0));
    assert!(cache.program(Some("{}"), 0, &host).is_err());
    assert_eq!(capabilities::names(1), ["CAP_CHOWN"]);
}

#[test]
fn a_rule_holds_by_capabilities_architecture_and_kernel() {
    let host = HostFacts { kernel: (5, 15), ..HostFacts::example_v2() };
    let holds = |condition: serde_json::Value, capabilities: u64| {
        let mut rule = serde_json::json!({"names": ["read"], "action": "SCMP_ACT_ALLOW"});
        rule.as_object_mut().expect("an object").extend(condition.as_object().expect("an object").clone());
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        let filter =
            parse_profile(&profile.to_string()).and_then(|profile| profile.resolve(capabilities, &host));
        filter.map(|filter| filter.syscalls().as_ref().is_some_and(|rules| !rules.is_empty()))
    };
    use serde_json::json;
    for (condition, capabilities, expected) in [
        (json!({}), 0, true),
        (json!({"includes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}), 1, false),
        (json!({"includes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}), 1 | 1 << 5, true),
        (json!({"excludes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}), 1, false),
        (json!({"excludes": {"caps": ["CAP_CHOWN", "CAP_KILL"]}}), 2, true),
        (json!({"includes": {"arches": ["arm64"]}}), 0, false),
        (json!({"includes": {"arches": ["arm64", "amd64"]}}), 0, true),
        (json!({"excludes": {"arches": ["amd64"]}}), 0, false),
        (json!({"includes": {"minKernel": "4.8"}}), 0, true),
        (json!({"includes": {"minKernel": "5.16"}}), 0, false),
        (json!({"excludes": {"minKernel": "5.15"}}), 0, false),
        (json!({"includes": null, "excludes": null, "args": null}), 0, true),
    ] {
        assert_eq!(
            holds(condition.clone(), capabilities).expect("resolves"),
            expected,
            "{condition} {capabilities}"
        );
    }
    assert!(holds(json!({"includes": {"minKernel": "five"}}), 0).is_err());
}
