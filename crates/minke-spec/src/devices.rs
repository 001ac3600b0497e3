//! Device rules: which nodes a container may make, read and write, as v1 writes and as a v2 eBPF program.
//! Runtime specification: config-linux.md "Allowed Device list". For each of the three rights, the last rule that names the device
//! decides; what no rule names is refused. Never loads a program.

use minke_model::{Error, Result};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// The most rules of a configuration.
const RULE_LIMIT: usize = 4096;

/// The right to make a node.
pub const MKNOD: u8 = 1;
/// The right to read.
pub const READ: u8 = 2;
/// The right to write.
pub const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

/// The kind of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// A block device.
    Block,
    /// A character device.
    Character,
}

/// One rule; `None` is every kind or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    /// Whether it gives the rights or takes them away.
    pub allow: bool,
    /// The device's kind.
    pub kind: Option<DeviceKind>,
    /// The major number.
    pub major: Option<u32>,
    /// The minor number.
    pub minor: Option<u32>,
    /// [`MKNOD`], [`READ`] and [`WRITE`] bits.
    pub access: u8,
}

/// What every container may use, whatever its configuration says: making any node, and the usual devices.
pub const ALWAYS_ALLOWED: [DeviceRule; 10] = [
    any(DeviceKind::Character, MKNOD),
    any(DeviceKind::Block, MKNOD),
    character(1, Some(3)),
    character(1, Some(8)),
    character(1, Some(7)),
    character(5, Some(0)),
    character(1, Some(5)),
    character(1, Some(9)),
    character(136, None),
    character(5, Some(2)),
];

const fn any(kind: DeviceKind, access: u8) -> DeviceRule {
    DeviceRule { allow: true, kind: Some(kind), major: None, minor: None, access }
}

const fn character(major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule { allow: true, kind: Some(DeviceKind::Character), major: Some(major), minor, access: ALL }
}

impl DeviceRule {
    /// Whether the rule is about every device and right, so that nothing before it counts.
    fn is_reset(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    /// Whether some device is named by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        fn meet<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            a.is_none() || b.is_none() || a == b
        }
        meet(self.kind, other.kind) && meet(self.major, other.major) && meet(self.minor, other.minor)
    }

    fn same_devices(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// Writes the rule as the kernel's files have it: `c 1:3 rwm`.
    pub fn render(&self) -> String {
        let kind = match self.kind {
            None => 'a',
            Some(DeviceKind::Block) => 'b',
            Some(DeviceKind::Character) => 'c',
        };
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let rights: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
            .iter()
            .filter(|(bit, _)| self.access & bit != 0)
            .map(|(_, letter)| letter)
            .collect();
        format!("{kind} {}:{} {rights}", number(self.major), number(self.minor))
    }
}

/// Reads the rules of a configuration, with [`ALWAYS_ALLOWED`] after them.
pub fn parse_rules(rules: &[LinuxDeviceCgroup]) -> Result<Vec<DeviceRule>> {
    if rules.len() > RULE_LIMIT {
        return Err(Error::invalid(format!("too many device rules: {} (limit {RULE_LIMIT})", rules.len())));
    }
    let mut parsed = Vec::with_capacity(rules.len() + ALWAYS_ALLOWED.len());
    for rule in rules {
        parsed.push(parse_rule(rule)?);
    }
    parsed.extend(ALWAYS_ALLOWED);
    Ok(parsed)
}

fn parse_rule(rule: &LinuxDeviceCgroup) -> Result<DeviceRule> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(DeviceKind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(DeviceKind::Character),
        Some(LinuxDeviceType::P) => {
            return Err(Error::invalid("invalid device rule: type p has no rights"));
        }
    };
    let number = |value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => match i32::try_from(value) {
            Ok(value) if value >= 0 => Ok(Some(value as u32)),
            _ => Err(Error::invalid(format!("invalid device number {value}"))),
        },
    };
    let access = parse_access(rule.access().as_deref().unwrap_or_default())?;
    let access = if access == 0 { ALL } else { access };
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major())?,
        minor: number(rule.minor())?,
        access,
    })
}

/// Reads rights such as `rw`.
pub fn parse_access(letters: &str) -> Result<u8> {
    letters.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        // Others write it for "all"; it adds nothing.
        'a' => Ok(bits),
        _ => Err(Error::invalid(format!("invalid device access {letters:?}: only r, w and m are known"))),
    })
}

/// One write to `devices.allow` or `devices.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceWrite {
    pub(crate) allow: bool,
    pub(crate) value: String,
    pub(crate) optional: bool,
}

/// Computes the shortest row of v1 writes that leaves a new group with these rules.
///
/// Version 1 holds a default and exceptions by exact numbers; a rule that would cut a hole into a wider exception is an error.
pub(crate) fn writes(rules: &[DeviceRule]) -> Result<Vec<DeviceWrite>> {
    let start = rules.iter().rposition(DeviceRule::is_reset);
    let default_allow = start.is_some_and(|index| rules[index].allow);
    let mut exceptions: Vec<DeviceRule> = Vec::new();
    for rule in rules[start.map_or(0, |index| index + 1)..].iter().flat_map(split_kinds) {
        if rule.allow != default_allow {
            match exceptions.iter_mut().find(|known| known.same_devices(&rule)) {
                Some(known) => known.access |= rule.access,
                None => exceptions.push(rule),
            }
            continue;
        }
        for known in
            exceptions.iter_mut().filter(|known| known.overlaps(&rule) && known.access & rule.access != 0)
        {
            if wider(known, &rule) {
                return Err(Error::invalid(format!(
                    "requested rule [{} {}] not supported by devices cgroupv1 (cannot punch hole in existing \
                     wildcard rule [{} {}])",
                    word(rule.allow),
                    rule.render(),
                    word(known.allow),
                    known.render()
                )));
            }
            known.access &= !rule.access;
        }
        exceptions.retain(|known| known.access != 0);
    }
    // A group whose parent isn't allowed everything can't be either; it then has what the parent has.
    let first = DeviceWrite { allow: default_allow, value: "a *:* rwm".into(), optional: default_allow };
    let rest = exceptions.iter().map(|rule| DeviceWrite {
        allow: rule.allow,
        value: rule.render(),
        optional: false,
    });
    Ok(std::iter::once(first).chain(rest).collect())
}

fn word(allow: bool) -> &'static str {
    if allow { "allow" } else { "deny" }
}

/// Whether `known` names devices that `rule` doesn't.
fn wider(known: &DeviceRule, rule: &DeviceRule) -> bool {
    (known.major.is_none() && rule.major.is_some()) || (known.minor.is_none() && rule.minor.is_some())
}

/// A rule about both kinds as two rules.
fn split_kinds(rule: &DeviceRule) -> Vec<DeviceRule> {
    match rule.kind {
        Some(_) => vec![*rule],
        None => [DeviceKind::Block, DeviceKind::Character]
            .map(|kind| DeviceRule { kind: Some(kind), ..*rule })
            .to_vec(),
    }
}

// The eBPF instructions used: linux/bpf.h, linux/bpf_common.h.
const LOAD_WORD: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const AND_IMMEDIATE: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

// Registers: the result, the context, then what the program keeps in them.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// One instruction as its eight bytes, little-endian.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(destination | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

fn immediate(code: u8, register: u8, value: i32) -> u64 {
    instruction(code, register, 0, 0, value)
}

/// Compiles rules to a program of the type `BPF_PROG_TYPE_CGROUP_DEVICE`; empty where everything is allowed.
///
/// The rules are asked from the last to the first. A register holds the rights that are still to be granted: a rule that
/// takes one of them away ends with a refusal, one that gives the last of them ends with consent.
pub(crate) fn program(rules: &[DeviceRule]) -> Result<Vec<u64>> {
    let start = rules.iter().rposition(DeviceRule::is_reset);
    let default_allow = start.is_some_and(|index| rules[index].allow);
    let rules = &rules[start.map_or(0, |index| index + 1)..];
    if rules.len() > RULE_LIMIT + ALWAYS_ALLOWED.len() {
        return Err(Error::invalid("too many device rules"));
    }
    if default_allow && rules.iter().all(|rule| rule.allow) {
        return Ok(Vec::new());
    }
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, WANTED, KIND, 0, 0),
        immediate(AND_IMMEDIATE, KIND, 0xffff),
        immediate(SHIFT_RIGHT, WANTED, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev().filter(|rule| rule.access != 0) {
        program.extend(rule_block(rule));
    }
    program.extend([immediate(MOVE_IMMEDIATE, RESULT, default_allow.into()), immediate(EXIT, 0, 0)]);
    Ok(program)
}

/// The instructions of one rule; its jumps lead behind its last instruction.
fn rule_block(rule: &DeviceRule) -> Vec<u64> {
    let mut block: Vec<u64> = Vec::new();
    let mut jumps: Vec<usize> = Vec::new();
    let mut unless = |block: &mut Vec<u64>, code: u8, register: u8, value: u32| {
        jumps.push(block.len());
        block.push(immediate(code, register, value as i32));
    };
    if let Some(kind) = rule.kind {
        unless(&mut block, JUMP_NOT_EQUAL, KIND, if kind == DeviceKind::Block { 1 } else { 2 });
    }
    if let Some(major) = rule.major {
        unless(&mut block, JUMP_NOT_EQUAL, MAJOR, major);
    }
    if let Some(minor) = rule.minor {
        unless(&mut block, JUMP_NOT_EQUAL, MINOR, minor);
    }
    if rule.allow {
        block.push(immediate(AND_IMMEDIATE, WANTED, !i32::from(rule.access)));
        unless(&mut block, JUMP_NOT_EQUAL, WANTED, 0);
    } else if rule.access != ALL {
        block.push(instruction(MOVE_REGISTER, SCRATCH, WANTED, 0, 0));
        block.push(immediate(AND_IMMEDIATE, SCRATCH, rule.access.into()));
        unless(&mut block, JUMP_EQUAL, SCRATCH, 0);
    }
    block.extend([immediate(MOVE_IMMEDIATE, RESULT, rule.allow.into()), immediate(EXIT, 0, 0)]);
    let end = block.len();
    for index in jumps {
        block[index] |= ((end - index - 1) as u64) << 16;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether every wanted right is given by the last rule that names it for the device; nothing by default.
    fn naive(rules: &[DeviceRule], kind: DeviceKind, numbers: (u32, u32), wanted: u8) -> bool {
        [MKNOD, READ, WRITE].into_iter().filter(|bit| wanted & bit != 0).all(|bit| {
            let last = rules.iter().rev().find(|rule| {
                rule.access & bit != 0
                    && rule.kind.is_none_or(|own| own == kind)
                    && rule.major.is_none_or(|own| own == numbers.0)
                    && rule.minor.is_none_or(|own| own == numbers.1)
            });
            last.is_some_and(|rule| rule.allow)
        })
    }

    fn run_program(program: &[u64], kind: DeviceKind, numbers: (u32, u32), wanted: u8) -> bool {
        if program.is_empty() {
            return true;
        }
        let bytes: Vec<u8> = program.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let kind = if kind == DeviceKind::Block { 1u32 } else { 2 };
        let access = u32::from(wanted) << 16 | kind;
        let mut context: Vec<u8> =
            [access, numbers.0, numbers.1].iter().flat_map(|word| word.to_ne_bytes()).collect();
        let machine = rbpf::EbpfVmRaw::new(Some(&bytes)).expect("the program is well-formed");
        machine.execute_program(&mut context).expect("the program runs") == 1
    }

    /// A small generator of numbers that differ, the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }

        fn rule(&mut self) -> DeviceRule {
            let kinds = [None, Some(DeviceKind::Block), Some(DeviceKind::Character)];
            let number = |value: u64| if value == 0 { None } else { Some(value as u32) };
            DeviceRule {
                allow: self.below(2) == 0,
                kind: kinds[self.below(3) as usize],
                major: number(self.below(4)),
                minor: number(self.below(4)),
                access: 1 + self.below(7) as u8,
            }
        }
    }

    #[test]
    fn the_program_agrees_with_a_naive_reading_of_random_rules() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..300 {
            let rules: Vec<DeviceRule> = (0..random.below(12)).map(|_| random.rule()).collect();
            let program = program(&rules).expect("compiles");
            for kind in [DeviceKind::Block, DeviceKind::Character] {
                for numbers in (1..5).flat_map(|major| (0..5).map(move |minor| (major, minor))) {
                    for wanted in 1..8 {
                        assert_eq!(
                            run_program(&program, kind, numbers, wanted),
                            naive(&rules, kind, numbers, wanted),
                            "{kind:?} {numbers:?} {wanted} {rules:?}"
                        );
                    }
                }
            }
        }
    }

    /// What the kernel's version 1 does with a row of writes, into a group that starts with everything allowed.
    fn version_1(writes: &[DeviceWrite], kind: DeviceKind, numbers: (u32, u32), wanted: u8) -> bool {
        let mut default_allow = true;
        let mut exceptions: Vec<(char, String, String, String)> = Vec::new();
        for write in writes {
            let (letter, rest) = write.value.split_once(' ').expect("a kind");
            if letter == "a" {
                default_allow = write.allow;
                exceptions.clear();
                continue;
            }
            let (place, access) = rest.split_once(' ').expect("rights");
            let (major, minor) = place.split_once(':').expect("numbers");
            assert_ne!(write.allow, default_allow, "a write that would only remove an exception");
            exceptions.push((
                letter.chars().next().expect("a letter"),
                major.into(),
                minor.into(),
                access.into(),
            ));
        }
        let letter = if kind == DeviceKind::Block { 'b' } else { 'c' };
        let named = |own: &str, number: u32| own == "*" || own == number.to_string();
        let mut matching = exceptions
            .iter()
            .filter(|(own, major, minor, _)| {
                *own == letter && named(major, numbers.0) && named(minor, numbers.1)
            })
            .map(|(.., access)| parse_access(access).expect("rights"));
        match default_allow {
            true => !matching.any(|access| access & wanted != 0),
            false => matching.any(|access| wanted & !access == 0),
        }
    }

    #[test]
    fn version_1_writes_mean_the_same_where_they_can_be_written() {
        let mut random = Random(0x1234_5678_9abc_def1);
        let mut compared = 0;
        for _ in 0..3000 {
            let rules: Vec<DeviceRule> = (0..random.below(5)).map(|_| random.rule()).collect();
            let Ok(writes) = writes(&rules) else { continue };
            compared += 1;
            for kind in [DeviceKind::Block, DeviceKind::Character] {
                for numbers in (1..5).flat_map(|major| (0..5).map(move |minor| (major, minor))) {
                    // One right at a time: version 1 wants a single exception that covers all that is asked.
                    for wanted in [MKNOD, READ, WRITE] {
                        assert_eq!(
                            version_1(&writes, kind, numbers, wanted),
                            naive(&rules, kind, numbers, wanted),
                            "{kind:?} {numbers:?} {wanted} {rules:?}"
                        );
                    }
                }
            }
        }
        assert!(compared > 1000, "{compared}");
    }

    #[test]
    fn everything_allowed_needs_no_program_and_one_write() {
        let mut rules = vec![
            DeviceRule { allow: false, kind: None, major: None, minor: None, access: ALL },
            DeviceRule { allow: true, kind: None, major: None, minor: None, access: ALL },
        ];
        rules.extend(ALWAYS_ALLOWED);
        assert!(program(&rules).expect("compiles").is_empty());
        let writes = writes(&rules).expect("writes");
        assert_eq!(writes, [DeviceWrite { allow: true, value: "a *:* rwm".into(), optional: true }]);
    }

    #[test]
    fn a_hole_in_a_wildcard_is_refused_on_version_1() {
        let rules = [
            DeviceRule {
                allow: true,
                kind: Some(DeviceKind::Character),
                major: None,
                minor: None,
                access: ALL,
            },
            DeviceRule {
                allow: false,
                kind: Some(DeviceKind::Character),
                major: Some(1),
                minor: Some(3),
                access: READ,
            },
        ];
        assert_eq!(
            writes(&rules).expect_err("refused").to_string(),
            "requested rule [deny c 1:3 r] not supported by devices cgroupv1 (cannot punch hole in existing \
             wildcard rule [allow c *:* rwm])"
        );
    }
}
