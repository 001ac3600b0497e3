//! A start plan as text, one decision per line: for people (`--debug`) and for tests.

use std::fmt::Write;

use crate::plan::{MountStep, StartPlan};

/// The mount attribute bits by name.
const ATTRIBUTES: [(u64, &str); 8] = [
    (0x1, "ro"),
    (0x2, "nosuid"),
    (0x4, "nodev"),
    (0x8, "noexec"),
    (0x10, "noatime"),
    (0x20, "strictatime"),
    (0x80, "nodiratime"),
    (0x20_0000, "nosymfollow"),
];

const PROPAGATIONS: [(u64, &str); 4] =
    [(1 << 17, "unbindable"), (1 << 18, "private"), (1 << 19, "slave"), (1 << 20, "shared")];

const NAMESPACES: [(u64, &str); 8] = [
    (0x80, "time"),
    (0x2_0000, "mount"),
    (0x200_0000, "cgroup"),
    (0x400_0000, "uts"),
    (0x800_0000, "ipc"),
    (0x1000_0000, "user"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "network"),
];

/// Writes a plan as text. The form may change at any time; nothing parses it.
pub fn render(plan: &StartPlan) -> String {
    let mut out = String::new();
    // Writing into a string can't fail.
    let _ = render_into(plan, &mut out);
    out
}

fn words(bits: u64, names: &[(u64, &str)]) -> String {
    let words: Vec<&str> = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    words.join(",")
}

fn propagation(flags: u64) -> String {
    let tree = if flags & (1 << 14) != 0 { "r" } else { "" };
    match words(flags, &PROPAGATIONS) {
        word if word.is_empty() => String::new(),
        word => format!(" {tree}{word}"),
    }
}

fn attributes(label: &str, bits: u64) -> String {
    match words(bits, &ATTRIBUTES) {
        word if word.is_empty() => String::new(),
        word => format!(" {label}{word}"),
    }
}

fn render_into(plan: &StartPlan, out: &mut String) -> std::fmt::Result {
    writeln!(out, "namespaces new {}", words(plan.namespaces.new, &NAMESPACES))?;
    for (kind, path) in &plan.namespaces.join {
        writeln!(out, "namespace {} of {path}", words(*kind, &NAMESPACES))?;
    }
    for (label, map) in [("uid", &plan.namespaces.uid_map), ("gid", &plan.namespaces.gid_map)] {
        for (inside, outside, count) in map {
            writeln!(out, "map {label} {inside} to {outside}, {count}")?;
        }
    }
    for (clock, seconds, nanoseconds) in &plan.namespaces.time_offsets {
        writeln!(out, "clock {clock} {seconds} s {nanoseconds} ns")?;
    }
    for device in &plan.net_devices {
        writeln!(out, "interface {} as {}", device.host_name, device.name)?;
    }
    render_cgroup(plan, out)?;
    let root = plan.root.path.as_deref().unwrap_or("as handed over");
    let readonly = if plan.root.readonly { " ro" } else { "" };
    writeln!(out, "root {root}{readonly}{}", propagation(plan.root.propagation))?;
    for step in &plan.mounts {
        render_mount(step, out)?;
    }
    for node in &plan.devices {
        let bind = node.bind.as_ref().map(|path| format!(" bound from {path}")).unwrap_or_default();
        let (kind, major, minor, mode) = (node.kind, node.major, node.minor, node.mode);
        writeln!(
            out,
            "device {} {kind} {major}:{minor} {mode:04o} {}:{}{bind}",
            node.path, node.uid, node.gid
        )?;
    }
    for (path, target) in &plan.links {
        writeln!(out, "link {path} -> {target}")?;
    }
    for (path, value) in &plan.sysctls {
        writeln!(out, "sysctl {path} = {value}")?;
    }
    for path in &plan.masked_paths {
        writeln!(out, "mask {path}")?;
    }
    for path in &plan.readonly_paths {
        writeln!(out, "read-only {path}")?;
    }
    for (label, name) in [("hostname", &plan.hostname), ("domainname", &plan.domainname)] {
        if let Some(name) = name {
            writeln!(out, "{label} {name}")?;
        }
    }
    render_process(plan, out)
}

fn render_cgroup(plan: &StartPlan, out: &mut String) -> std::fmt::Result {
    for directory in plan.cgroup.v2.iter().chain(&plan.cgroup.v1) {
        writeln!(out, "cgroup {directory}")?;
    }
    for path in &plan.cgroup.inherit {
        writeln!(out, "inherit {path}")?;
    }
    for write in &plan.cgroup.writes {
        let optional = if write.optional { " (if it is there)" } else { "" };
        writeln!(out, "write {} = {}{optional}", write.path, write.value)?;
    }
    if !plan.cgroup.device_program.is_empty() {
        writeln!(out, "device program of {} instructions", plan.cgroup.device_program.len())?;
    }
    Ok(())
}

fn render_mount(step: &MountStep, out: &mut String) -> std::fmt::Result {
    match step {
        MountStep::Filesystem {
            fstype,
            source,
            options,
            attributes: bits,
            target,
            propagation: flags,
            copy_up,
        } => {
            let options: Vec<String> = options
                .iter()
                .map(|(key, value)| value.as_ref().map_or(key.clone(), |value| format!("{key}={value}")))
                .collect();
            let options =
                if options.is_empty() { String::new() } else { format!(" ({})", options.join(",")) };
            let copy_up = if *copy_up { " with what is there" } else { "" };
            let (attributes, propagation) = (attributes("", *bits), propagation(*flags));
            writeln!(out, "mount {fstype} {source} at {target}{attributes}{options}{propagation}{copy_up}")
        }
        MountStep::Bind {
            source,
            target,
            recursive,
            set,
            clear,
            set_recursive,
            clear_recursive,
            propagation: flags,
            id_map,
        } => {
            let tree = if *recursive { "tree " } else { "" };
            let changes = [
                attributes("", *set),
                attributes("not ", *clear),
                attributes("all ", *set_recursive),
                attributes("all not ", *clear_recursive),
                propagation(*flags),
                id_map.as_ref().map(|map| format!(" owners {:?} {:?}", map.uid, map.gid)).unwrap_or_default(),
            ]
            .concat();
            writeln!(out, "bind {tree}{source} at {target}{changes}")
        }
        MountStep::Cgroup { target, v1, links, readonly, binds } => {
            let readonly = if *readonly { " ro" } else { "" };
            writeln!(out, "cgroups at {target}{readonly}")?;
            for (index, (directory, options)) in v1.iter().enumerate() {
                let bind = binds.get(index).map(|path| format!(" bound from {path}")).unwrap_or_default();
                writeln!(out, "  {directory} ({options}){bind}")?;
            }
            for (name, directory) in links {
                writeln!(out, "  link {name} -> {directory}")?;
            }
            Ok(())
        }
    }
}

fn render_process(plan: &StartPlan, out: &mut String) -> std::fmt::Result {
    let process = &plan.process;
    writeln!(out, "user {}:{} groups {:?}", process.uid, process.gid, process.groups)?;
    let sets = &process.capabilities;
    writeln!(
        out,
        "capabilities bounding {:#x} effective {:#x} permitted {:#x} inheritable {:#x} ambient {:#x}",
        sets.bounding, sets.effective, sets.permitted, sets.inheritable, sets.ambient
    )?;
    for (number, soft, hard) in &process.rlimits {
        writeln!(out, "rlimit {number} {soft} {hard}")?;
    }
    if let Some(score) = process.oom_score_adj {
        writeln!(out, "oom score {score}")?;
    }
    for (label, name) in [("apparmor", &process.apparmor_profile), ("selinux", &process.selinux_label)] {
        if let Some(name) = name {
            writeln!(out, "{label} {name}")?;
        }
    }
    if let Some(umask) = process.umask {
        writeln!(out, "umask {umask:04o}")?;
    }
    if process.no_new_privileges {
        writeln!(out, "no new privileges")?;
    }
    if !process.seccomp.is_empty() {
        writeln!(
            out,
            "filter of {} instructions, flags {:#x}",
            process.seccomp.len(),
            process.seccomp_flags
        )?;
    }
    for row in &process.env {
        writeln!(out, "env {row:?}")?;
    }
    let init = if plan.init { " below a reaper" } else { "" };
    writeln!(out, "execute {:?} in {}{init}", process.args, process.cwd)
}
