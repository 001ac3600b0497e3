//! Resolved rules as ranges of system call numbers, per calling convention.
//!
//! For one call: a rule without conditions decides; else the first whose conditions all hold; else the default. Calls newer than
//! every call that the filter names end with ENOSYS, so that programs fall back, unless the default lets them pass.

use std::collections::BTreeMap;

use minke_model::{Error, Result};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

use super::assemble::{Block, Check, Outcome, Range, assemble};
use super::syscalls::{Abi, X32_BIT};
use crate::host::HostFacts;

const ACTION_KILL_THREAD: u32 = 0;
const ACTION_KILL_PROCESS: u32 = 0x8000_0000;
const ACTION_TRAP: u32 = 0x0003_0000;
const ACTION_ERRNO: u32 = 0x0005_0000;
const ACTION_NOTIFY: u32 = 0x7fc0_0000;
const ACTION_TRACE: u32 = 0x7ff0_0000;
const ACTION_LOG: u32 = 0x7ffc_0000;
const ACTION_ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The most rules, names together, and conditions of one rule.
const RULE_LIMIT: usize = 4096;
const NAME_LIMIT: usize = 65_536;
const CONDITION_LIMIT: usize = 64;

/// Compiles a filter for the host's architecture.
pub(super) fn compile(filter: &LinuxSeccomp, host: &HostFacts) -> Result<Vec<u64>> {
    let rules = filter.syscalls().as_deref().unwrap_or_default();
    let names: usize = rules.iter().map(|rule| rule.names().len()).sum();
    if rules.len() > RULE_LIMIT || names > NAME_LIMIT {
        return Err(Error::invalid("the seccomp filter has too many rules"));
    }
    let default = action(filter.default_action(), filter.default_errno_ret(), host)?;
    let native = Abi::native(host.architecture);
    let mut abis = vec![native];
    for arch in filter.architectures().as_deref().unwrap_or_default() {
        let abi =
            if *arch == Arch::ScmpArchNative { Some(native) } else { Abi::of(*arch, host.architecture) };
        abis.extend(abi.filter(|abi| !abis.contains(abi)));
    }
    let mut blocks: Vec<Block> = Vec::new();
    for abi in &abis {
        // x32 calls come under the architecture of x86-64, with a bit in their number.
        if *abi == Abi::X32 {
            continue;
        }
        let mut ranges = ranges(*abi, rules, default, host)?;
        if *abi == Abi::X86_64 {
            let x32 = if abis.contains(&Abi::X32) {
                self::ranges(Abi::X32, rules, default, host)?
            } else {
                Vec::new()
            };
            ranges = join_x32(ranges, x32, default);
        }
        blocks.push(Block { audit: abi.audit(), ranges: merge(ranges) });
    }
    Ok(assemble(&blocks, ACTION_KILL_THREAD))
}

/// The kernel's word for an action.
fn action(action: LinuxSeccompAction, errno: Option<u32>, host: &HostFacts) -> Result<u32> {
    let (word, value) = match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            ("kill_thread", ACTION_KILL_THREAD)
        }
        LinuxSeccompAction::ScmpActKillProcess => ("kill_process", ACTION_KILL_PROCESS),
        LinuxSeccompAction::ScmpActTrap => ("trap", ACTION_TRAP),
        LinuxSeccompAction::ScmpActErrno => ("errno", ACTION_ERRNO | data(errno)?),
        LinuxSeccompAction::ScmpActTrace => ("trace", ACTION_TRACE | data(errno)?),
        LinuxSeccompAction::ScmpActLog => ("log", ACTION_LOG),
        LinuxSeccompAction::ScmpActAllow => ("allow", ACTION_ALLOW),
        LinuxSeccompAction::ScmpActNotify => ("user_notif", ACTION_NOTIFY),
    };
    // Older kernels don't list the plainest of them.
    if !matches!(word, "kill_thread" | "allow") && !host.seccomp_actions.iter().any(|known| known == word) {
        return Err(Error::invalid(format!("the kernel does not support the seccomp action {word}")));
    }
    Ok(value)
}

/// The number that goes with an action.
fn data(errno: Option<u32>) -> Result<u32> {
    match errno.unwrap_or(EPERM) {
        value @ 0..=0xffff => Ok(value),
        value => Err(Error::invalid(format!("invalid seccomp errnoRet {value}"))),
    }
}

/// What the rules say about one call.
#[derive(Default)]
struct Call {
    always: Option<u32>,
    sometimes: Vec<(Vec<Check>, u32)>,
}

/// The ranges of one convention, over all numbers.
fn ranges(abi: Abi, rules: &[LinuxSyscall], default: u32, host: &HostFacts) -> Result<Vec<Range>> {
    let mut calls: BTreeMap<u32, Call> = BTreeMap::new();
    let mut last = None;
    for rule in rules {
        let outcome = action(rule.action(), rule.errno_ret(), host)?;
        let alternatives = alternatives(rule.args().as_deref().unwrap_or_default(), abi)?;
        for number in rule.names().iter().filter_map(|name| abi.number(name)) {
            last = last.max(Some(number));
            // A rule that says what is so anyway doesn't stand in the way of others.
            if outcome == default {
                continue;
            }
            let call = calls.entry(number).or_default();
            match alternatives.is_empty() {
                true => call.always = call.always.or(Some(outcome)),
                false => call.sometimes.extend(alternatives.iter().map(|checks| (checks.clone(), outcome))),
            }
        }
    }
    let mut ranges = Vec::with_capacity(calls.len() * 2 + 2);
    let mut next = 0u32;
    for (number, call) in calls {
        if number > next {
            ranges.push(Range { first: next, outcome: Outcome::Return(default) });
        }
        let outcome = match call.always {
            Some(outcome) => Outcome::Return(outcome),
            None => Outcome::Check { alternatives: call.sometimes, otherwise: default },
        };
        ranges.push(Range { first: number, outcome });
        next = number.saturating_add(1);
    }
    if last.is_none_or(|last| next <= last) {
        ranges.push(Range { first: next, outcome: Outcome::Return(default) });
    }
    if let Some(last) = last.filter(|_| !lets_pass(default)) {
        ranges.push(Range { first: last.saturating_add(1), outcome: Outcome::Return(ACTION_ERRNO | ENOSYS) });
    } else if let Some(last) = last {
        ranges.push(Range { first: last.saturating_add(1), outcome: Outcome::Return(default) });
    }
    Ok(ranges)
}

/// Whether a new call would not be refused by the default: there ENOSYS would take something away.
fn lets_pass(default: u32) -> bool {
    matches!(default & 0xffff_0000, ACTION_ALLOW | ACTION_LOG | ACTION_TRACE)
        || default == ACTION_ERRNO | ENOSYS
}

/// Puts the numbers of x32 behind those of x86-64; where x32 isn't covered, its calls are of no known architecture, but -1,
/// by which a tracer skips a call.
fn join_x32(mut native: Vec<Range>, mut x32: Vec<Range>, default: u32) -> Vec<Range> {
    native.retain(|range| range.first < X32_BIT);
    if x32.is_empty() {
        native.push(Range { first: X32_BIT, outcome: Outcome::Return(ACTION_KILL_THREAD) });
        native.push(Range { first: u32::MAX, outcome: Outcome::Return(default) });
        return native;
    }
    // The first range of x32 reaches from 0 to its first number.
    if let Some(index) = x32.iter().rposition(|range| range.first <= X32_BIT) {
        x32.drain(..index);
        x32[0].first = X32_BIT;
    }
    native.extend(x32);
    native
}

/// Joins neighbours with the same outcome.
fn merge(ranges: Vec<Range>) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        if merged.last().is_none_or(|last| last.outcome != range.outcome) {
            merged.push(range);
        }
    }
    merged
}

/// The alternatives of one rule: all its conditions together, or, where two are about one argument, each alone; that is how
/// filters have been read since before that could be expressed.
fn alternatives(args: &[LinuxSeccompArg], abi: Abi) -> Result<Vec<Vec<Check>>> {
    if args.len() > CONDITION_LIMIT {
        return Err(Error::invalid("a seccomp rule has too many conditions"));
    }
    let checks = args.iter().map(|arg| check(arg, abi)).collect::<Result<Vec<Check>>>()?;
    let twice = checks
        .iter()
        .enumerate()
        .any(|(i, check)| checks[..i].iter().any(|other| other.index == check.index));
    Ok(match (checks.is_empty(), twice) {
        (true, _) => Vec::new(),
        (_, true) => checks.into_iter().map(|check| vec![check]).collect(),
        (_, false) => vec![checks],
    })
}

fn check(arg: &LinuxSeccompArg, abi: Abi) -> Result<Check> {
    let index = u32::try_from(arg.index()).ok().filter(|index| *index < 6);
    let index =
        index.ok_or_else(|| Error::invalid(format!("invalid seccomp argument index {}", arg.index())))?;
    let narrow = |value: u64| if abi.is_32_bit() { value & 0xffff_ffff } else { value };
    let (mask, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpMaskedEq => (narrow(arg.value()), narrow(arg.value_two().unwrap_or(0))),
        _ => (narrow(u64::MAX), narrow(arg.value())),
    };
    Ok(Check { index, operator: arg.op(), mask, value, low_half_only: abi.is_32_bit() })
}
