//! ufw's own files: whether it is on, its default, and the rules that its user gave, which it keeps as comments of a fixed form
//! (`### tuple ###`) beside what it makes of them. What can't be read counts as no rule: then the default decides.

use std::path::Path;

use super::guard::{Act, Guard, GuardRule, is_everywhere, net_of};
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
    let policy = value(files.defaults, "DEFAULT_INPUT_POLICY").unwrap_or_default();
    let accepts = policy == "ACCEPT";
    let has_ipv6 = value(files.defaults, "IPV6").is_some_and(|text| text.eq_ignore_ascii_case("yes"));
    let mut all: Vec<Tuple> = files.rules.lines().filter_map(|line| tuple(line, false)).collect();
    if has_ipv6 {
        all.extend(files.rules6.lines().filter_map(|line| tuple(line, true)));
    }
    let (routes, rules): (Vec<Tuple>, Vec<Tuple>) = all.into_iter().partition(|one| one.routed);
    let rules_of = |some: Vec<Tuple>| some.into_iter().map(|one| one.rule).collect();
    // Without IPv6, ufw lets no such packet in at all.
    let otherwise6 = accepts && has_ipv6;
    Some(Guard {
        rules: rules_of(rules),
        otherwise4: accepts,
        otherwise6,
        tells: policy == "REJECT",
        routes: rules_of(routes),
    })
}

/// A shell variable's value.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().rev().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim().trim_matches(['"', '\'']))
}

/// A rule, and whether it is about what is routed.
struct Tuple {
    routed: bool,
    rule: GuardRule,
}

/// `### tuple ### [route:]ACTION PROTOCOL PORT TO FROM-PORT FROM [APP FROM-APP] DIRECTION [comment=HEX]`, where DIRECTION is `in`,
/// `in_INTERFACE`, and for what is routed also `out_INTERFACE` and `in_INTERFACE!out_INTERFACE`.
fn tuple(line: &str, v6: bool) -> Option<Tuple> {
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
    let (routed, action) = match action.strip_prefix("route:") {
        Some(action) => (true, action),
        None => (false, *action),
    };
    let (mut interface, mut out) = (None, None);
    for part in direction.split('!') {
        match part.split_once('_').unwrap_or((part, "")) {
            ("in", "") => {}
            ("in", name) => interface = Some(name.to_owned()),
            // What leaves this host is none of ours.
            ("out", name) if routed => out = (!name.is_empty()).then(|| name.to_owned()),
            _ => return None,
        }
    }
    let act = match action.split('_').next()? {
        "allow" => Act::Allow,
        "limit" => Act::Limit,
        "deny" => Act::Deny,
        "reject" => Act::Reject,
        _ => return None,
    };
    let net = |text: &str| match text {
        "any" => Some(None),
        other => net_of(other).map(|net| (!is_everywhere(&net)).then(|| net.trunc())),
    };
    let rule = GuardRule {
        act,
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
        out,
    };
    Some(Tuple { routed, rule })
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
        assert_eq!((guard.rules[0].act, guard.rules[1].act), (Act::Deny, Act::Allow));
        assert_eq!(guard.rules[2].interface.as_deref(), Some("eth0"));
        assert_eq!(guard.rules[2].protocol, None);
        assert_eq!(guard.rules[3].ports, [(22, 22), (8000, 8010)]);
        assert_eq!(guard.rules[3].act, Act::Limit);
        assert_eq!(guard.rules[4].ports, [(80, 80), (443, 443)]);
        assert!(guard.rules[5].v6);
    }

    #[test]
    fn rules_about_what_is_routed_are_apart() {
        let guard = guard(
            "### tuple ### route:allow tcp 80 10.0.0.2 any 0.0.0.0/0 in_eth0!out_br0\n\
             ### tuple ### route:deny any any 0.0.0.0/0 any 0.0.0.0/0 out_br0\n\
             ### tuple ### route:limit tcp 80 0.0.0.0/0 any 0.0.0.0/0 WWW - in comment=6869\n\
             ### tuple ### route:reject_log-all udp 53 0.0.0.0/0 any 0.0.0.0/0 in_eth0\n",
        );
        let acts: Vec<Act> = guard.routes.iter().map(|rule| rule.act).collect();
        assert_eq!(acts, [Act::Allow, Act::Deny, Act::Limit, Act::Reject]);
        let ways: Vec<_> =
            guard.routes.iter().map(|rule| (rule.interface.as_deref(), rule.out.as_deref())).collect();
        let (eth0, br0) = (Some("eth0"), Some("br0"));
        assert_eq!(ways, [(eth0, br0), (None, br0), (None, None), (eth0, None)]);
        assert_eq!(guard.rules.len(), 1);
    }

    #[test]
    fn without_ipv6_no_such_packet_comes_in() {
        let files = Files {
            conf: "ENABLED=yes\n",
            defaults: "IPV6=no\nDEFAULT_INPUT_POLICY=\"ACCEPT\"\n",
            rules: "",
            rules6: "### tuple ### allow tcp 443 ::/0 any ::/0 in\n",
        };
        let guard = parse(&files).unwrap();
        assert_eq!((guard.rules.len(), guard.otherwise4, guard.otherwise6), (0, true, false));
    }

    #[test]
    fn a_port_is_open_to_everybody_by_a_rule_for_everybody_that_nothing_denies_before() {
        let guard = guard(
            "### tuple ### deny tcp 82 0.0.0.0/0 any 192.0.2.7 in\n\
             ### tuple ### allow tcp 80:82 0.0.0.0/0 any 0.0.0.0/0 in\n\
             ### tuple ### allow udp 53 0.0.0.0/0 any 192.0.2.0/24 in\n\
             ### tuple ### route:allow tcp 7000 0.0.0.0/0 any 0.0.0.0/0 in\n\
             ### tuple ### route:deny tcp 7001 0.0.0.0/0 any 0.0.0.0/0 in\n",
        );
        let lets = |protocol, host: &str, to| {
            let host: std::net::SocketAddr = host.parse().unwrap();
            guard.lets_everybody(protocol, (host.ip(), Some(host.port())), to)
        };
        assert!(lets(Protocol::Tcp, "0.0.0.0:80", 8080));
        assert!(!lets(Protocol::Tcp, "0.0.0.0:82", 8080));
        assert!(!lets(Protocol::Udp, "0.0.0.0:80", 8080));
        assert!(!lets(Protocol::Udp, "0.0.0.0:53", 8080));
        assert!(lets(Protocol::Tcp, "[::]:443", 8080));
        assert!(!lets(Protocol::Tcp, "[::]:80", 8080));
        assert!(lets(Protocol::Tcp, "0.0.0.0:9000", 7000));
        assert!(!lets(Protocol::Tcp, "0.0.0.0:80", 7001));
        assert!(guard.lets_everybody(Protocol::Tcp, ([0, 0, 0, 0].into(), None), 7000));
        assert!(!guard.lets_everybody(Protocol::Tcp, ([0, 0, 0, 0].into(), None), 80));
    }
}
