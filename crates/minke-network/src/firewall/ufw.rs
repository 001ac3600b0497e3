//! ufw's own files: whether it is on, its default, and the rules that its user gave, which it keeps as comments of a fixed form
//! (`### tuple ###`) beside what it makes of them. What can't be read counts as no rule: then the default decides.

use std::path::Path;

use super::guard::{Guard, GuardRule, is_everywhere, net_of};
use crate::ports::Protocol;

/// Reads ufw's files below `etc`; none where it isn't there or is off.
pub(super) fn read(etc: &Path) -> Option<Guard> {
    let text = |name: &str| std::fs::read_to_string(etc.join(name)).unwrap_or_default();
    let files = Files {
        conf: &text("ufw/ufw.conf"),
        defaults: &text("default/ufw"),
        rules: &text("ufw/user.rules"),
        rules6: &text("ufw/user6.rules"),
    };
    parse(&files)
}

struct Files<'a> {
    conf: &'a str,
    defaults: &'a str,
    rules: &'a str,
    rules6: &'a str,
}

fn parse(files: &Files<'_>) -> Option<Guard> {
    if !value(files.conf, "ENABLED")?.eq_ignore_ascii_case("yes") {
        return None;
    }
    let accepts = value(files.defaults, "DEFAULT_INPUT_POLICY").is_some_and(|policy| policy == "ACCEPT");
    let has_ipv6 = value(files.defaults, "IPV6").is_some_and(|text| text.eq_ignore_ascii_case("yes"));
    let mut rules: Vec<GuardRule> = files.rules.lines().filter_map(|line| tuple(line, false)).collect();
    if has_ipv6 {
        rules.extend(files.rules6.lines().filter_map(|line| tuple(line, true)));
    }
    Some(Guard { rules, otherwise4: accepts, otherwise6: accepts || !has_ipv6 })
}

/// A shell variable's value.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']))
}

/// `### tuple ### ACTION PROTOCOL PORT TO FROM-PORT FROM [APP FROM-APP] DIRECTION[_INTERFACE] [comment=HEX]`
fn tuple(line: &str, v6: bool) -> Option<GuardRule> {
    let fields: Vec<&str> = line
        .strip_prefix("### tuple ### ")?
        .split_ascii_whitespace()
        .filter(|field| !field.starts_with("comment="))
        .collect();
    let [action, protocol, port, to, from_port, from, rest @ ..] = &fields[..] else { return None };
    let direction = match rest {
        [] | [_, _] => "in",
        [direction] | [_, _, direction] => direction,
        _ => return None,
    };
    // Rules for what is routed, or leaves, are others.
    let interface = match direction.split_once('_') {
        None if direction == "in" => None,
        Some(("in", name)) if !name.contains('!') => Some(name.to_string()),
        _ => return None,
    };
    let action = action.split('_').next()?;
    let allow = match action {
        "allow" | "limit" => true,
        "deny" | "reject" => false,
        _ => return None,
    };
    let net = |text: &str| match text {
        "any" => Some(None),
        other => net_of(other).map(|net| (!is_everywhere(&net)).then(|| net.trunc())),
    };
    Some(GuardRule {
        allow,
        v6,
        protocol: match *protocol {
            "any" => None,
            other => Some(Protocol::parse(other).ok()?),
        },
        ports: ports(port)?,
        source_ports: ports(from_port)?,
        source: net(from)?,
        destination: net(to)?,
        interface,
    })
}

/// `any`, `80`, `80,443`, `8000:8010`.
fn ports(text: &str) -> Option<Vec<(u16, u16)>> {
    if text == "any" {
        return Some(Vec::new());
    }
    let range = |part: &str| match part.split_once(':') {
        None => part.parse().ok().map(|port| (port, port)),
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
    };
    text.split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(rules: &str) -> Guard {
        let files = Files {
            conf: "# comment\nENABLED=yes\nLOGLEVEL=low\n",
            defaults: "IPV6=yes\nDEFAULT_INPUT_POLICY=\"DROP\"\n",
            rules,
            rules6: "### tuple ### allow tcp 443 ::/0 any ::/0 in\n-A ufw6-user-input -p tcp --dport 443 -j ACCEPT\n",
        };
        parse(&files).unwrap()
    }

    #[test]
    fn it_says_nothing_where_it_is_off() {
        for conf in ["", "ENABLED=no\n"] {
            assert_eq!(parse(&Files { conf, defaults: "", rules: "", rules6: "" }), None);
        }
    }

    #[test]
    fn rules_are_read_in_their_order() {
        let guard = guard(
            "*filter\n### RULES ###\n\n\
             ### tuple ### deny tcp 8080 0.0.0.0/0 any 192.0.2.7 in\n\
             ### tuple ### allow tcp 8080 0.0.0.0/0 any 192.0.2.0/24 in comment=68690a\n\
             ### tuple ### allow any 53 0.0.0.0/0 any 0.0.0.0/0 in_eth0\n\
             ### tuple ### limit tcp 22,8000:8010 0.0.0.0/0 any 0.0.0.0/0 in\n\
             ### tuple ### allow_log tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 Nginx%20Full - in\n\
             ### tuple ### allow tcp 25 0.0.0.0/0 any 0.0.0.0/0 out\n\
             ### tuple ### route:allow tcp 80 10.0.0.2 any 0.0.0.0/0 in_eth0!out_br0\n\
             ### tuple ### allow esp any 0.0.0.0/0 any 0.0.0.0/0 in\n\
             ### tuple ### allow\n",
        );
        assert_eq!(guard.rules.len(), 6);
        assert_eq!((guard.otherwise4, guard.otherwise6), (false, false));
        assert_eq!(guard.rules[0].source, Some("192.0.2.7/32".parse().unwrap()));
        assert!(!guard.rules[0].allow && guard.rules[1].allow);
        assert_eq!(guard.rules[2].interface.as_deref(), Some("eth0"));
        assert_eq!(guard.rules[2].protocol, None);
        assert_eq!(guard.rules[3].ports, [(22, 22), (8000, 8010)]);
        assert_eq!(guard.rules[4].ports, [(80, 80), (443, 443)]);
        assert!(guard.rules[5].v6);
    }

    #[test]
    fn a_port_is_open_to_everybody_by_a_rule_for_everybody_that_nothing_denies_before() {
        let guard = guard(
            "### tuple ### deny tcp 82 0.0.0.0/0 any 192.0.2.7 in\n\
             ### tuple ### allow tcp 80:82 0.0.0.0/0 any 0.0.0.0/0 in\n\
             ### tuple ### allow udp 53 0.0.0.0/0 any 192.0.2.0/24 in\n",
        );
        let lets = |protocol, host: &str| guard.lets_everybody(protocol, host.parse().unwrap());
        assert!(lets(Protocol::Tcp, "0.0.0.0:80"));
        assert!(!lets(Protocol::Tcp, "0.0.0.0:82"));
        assert!(!lets(Protocol::Udp, "0.0.0.0:80"));
        assert!(!lets(Protocol::Udp, "0.0.0.0:53"));
        assert!(lets(Protocol::Tcp, "[::]:443"));
        assert!(!lets(Protocol::Tcp, "[::]:80"));
    }
}
