//! The text of a container's /etc/hosts, /etc/hostname and /etc/resolv.conf, as Docker makes them for the networks `none`
//! and `host`. Never reads or writes a file.

use std::fmt::Write;
use std::net::IpAddr;

use minke_model::{Error, Result};

/// The longest resolv.conf of a host that is read, in bytes.
pub const RESOLV_CONF_LIMIT: usize = 1024 * 1024;

/// The lines that Docker's hosts file begins with.
const LOCAL_HOSTS: [(&str, &str); 6] = [
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
];

/// What goes into a container's hosts file beside the names of loopback.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostsSettings<'a> {
    /// The container's own addresses with its names: empty for the network `none`.
    pub own: &'a [(String, String)],
    /// `--add-host`, in the form `name:address` or `name=address`, resolved.
    pub extra: &'a [String],
}

/// Writes a hosts file. A container on the host's network without `--add-host` gets the host's file as it is instead.
pub fn hosts(settings: &HostsSettings<'_>) -> Result<String> {
    let mut text = String::new();
    for (address, names) in LOCAL_HOSTS {
        line(&mut text, address, names);
    }
    for row in settings.extra {
        let (name, address) = parse_extra_host(row)?;
        line(&mut text, &address.to_string(), name);
    }
    for (address, names) in settings.own {
        line(&mut text, address, names);
    }
    Ok(text)
}

fn line(text: &mut String, address: &str, names: &str) {
    // Writing into a string can't fail.
    let _ = writeln!(text, "{address}\t{names}");
}

/// Reads one value of `--add-host`; an IPv6 address may stand in brackets.
fn parse_extra_host(row: &str) -> Result<(&str, IpAddr)> {
    let wrong = || Error::invalid(format!("bad format for add-host: \"{row}\""));
    let (name, address) = row.split_once('=').or_else(|| row.split_once(':')).ok_or_else(wrong)?;
    if name.is_empty() || name.len() > 255 || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(wrong());
    }
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let address =
        bare.parse().map_err(|_| Error::invalid(format!("invalid IP address in add-host: \"{address}\"")))?;
    Ok((name, address))
}

/// Writes the hostname file.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

/// The name servers where the host has none that a container can reach.
const PUBLIC_SERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// What a container's resolver is told instead of the host's; empty lists leave the host's.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResolvSettings<'a> {
    /// `--dns`.
    pub servers: &'a [String],
    /// `--dns-search`; `.` means none.
    pub search: &'a [String],
    /// `--dns-option`.
    pub options: &'a [String],
    /// The container is on the host's network, so that it reaches what the host reaches.
    pub host_network: bool,
}

/// A resolver's configuration as far as Docker reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolvConf {
    servers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    other: Vec<String>,
}

fn parse_resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    let mut end = text.len().min(RESOLV_CONF_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for row in text[..end].lines().map(str::trim) {
        if row.is_empty() || row.starts_with(['#', ';']) {
            continue;
        }
        let mut words = row.split_ascii_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            // What follows the address is a comment.
            Some("nameserver") => conf.servers.extend(words.next()),
            Some("domain" | "search") => {
                let words: Vec<String> = words.collect();
                if !words.is_empty() {
                    conf.search = words;
                }
            }
            Some("options") => conf.options.extend(words),
            _ => conf.other.push(row.to_owned()),
        }
    }
    conf
}

/// Whether a container that can't reach the host's loopback can ask this server; without IPv6 as Docker's `none` is.
fn is_reachable(server: &str) -> bool {
    server.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4() && !address.is_loopback())
}

/// Writes the resolver's configuration of a container: the host's (`host`), with the user's words instead of the host's where
/// there are any. Off the host's network, servers that can't be reached from there give way to public ones.
pub fn resolv_conf(host: &str, settings: &ResolvSettings<'_>) -> String {
    let asked = !(settings.servers.is_empty() && settings.search.is_empty() && settings.options.is_empty());
    if settings.host_network && !asked {
        return host.to_owned();
    }
    let mut conf = parse_resolv_conf(host);
    if !settings.servers.is_empty() {
        conf.servers = settings.servers.to_vec();
    } else if !settings.host_network {
        conf.servers.retain(|server| is_reachable(server));
        if conf.servers.is_empty() {
            conf.servers = PUBLIC_SERVERS.map(String::from).to_vec();
        }
    }
    if !settings.search.is_empty() {
        conf.search = settings.search.iter().filter(|word| *word != ".").cloned().collect();
    }
    if !settings.options.is_empty() {
        conf.options = settings.options.to_vec();
    }
    let mut text = String::new();
    for server in &conf.servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    for (word, values) in [("search", &conf.search), ("options", &conf.options)] {
        if !values.is_empty() {
            text.push_str(&format!("{word} {}\n", values.join(" ")));
        }
    }
    for row in &conf.other {
        text.push_str(row);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn hosts_begin_with_loopback_and_end_with_the_container() {
        let extra = strings(&["db:10.0.0.2", "six=[fd00::1]", "seven:fd00::2"]);
        let own = [("172.17.0.2".to_owned(), "abc".to_owned())];
        let text = hosts(&HostsSettings { own: &own, extra: &extra }).expect("hosts");
        insta::assert_snapshot!(text, @r#"
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::	ip6-localnet
        ff00::	ip6-mcastprefix
        ff02::1	ip6-allnodes
        ff02::2	ip6-allrouters
        10.0.0.2	db
        fd00::1	six
        fd00::2	seven
        172.17.0.2	abc
        "#);
    }

    #[test]
    fn an_extra_host_must_be_a_name_and_an_address() {
        for (row, message) in [
            ("name", "bad format for add-host: \"name\""),
            (":1.2.3.4", "bad format for add-host: \":1.2.3.4\""),
            ("a b:1.2.3.4", "bad format for add-host: \"a b:1.2.3.4\""),
            ("a:b", "invalid IP address in add-host: \"b\""),
        ] {
            assert_eq!(
                hosts(&HostsSettings { own: &[], extra: &strings(&[row]) }).expect_err("refused").to_string(),
                message
            );
        }
    }

    const HOST: &str = "# a comment\ndomain old.example\nsearch a.example b.example\nnameserver 10.0.0.1\n\
                        nameserver fe80::1%eth0 # zone\noptions ndots:2 timeout:1\noptions rotate\nsortlist 10.0.0.0\n";

    #[test]
    fn the_host_s_resolver_is_taken_over_as_far_as_it_can_be_reached() {
        insta::assert_snapshot!(resolv_conf(HOST, &ResolvSettings::default()), @r#"
        nameserver 10.0.0.1
        search a.example b.example
        options ndots:2 timeout:1 rotate
        sortlist 10.0.0.0
        "#);
        let on_host = ResolvSettings { host_network: true, ..ResolvSettings::default() };
        assert_eq!(resolv_conf(HOST, &on_host), HOST);
        let local = "nameserver 127.0.0.53\nnameserver ::1\nsearch .\n";
        assert_eq!(
            resolv_conf(local, &ResolvSettings::default()),
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch .\n"
        );
    }

    #[test]
    fn the_user_s_words_replace_the_host_s() {
        let (servers, search, options) = (strings(&["127.0.0.1"]), strings(&["."]), strings(&["ndots:0"]));
        let settings =
            ResolvSettings { servers: &servers, search: &search, options: &options, host_network: true };
        insta::assert_snapshot!(resolv_conf(HOST, &settings), @r#"
        nameserver 127.0.0.1
        options ndots:0
        sortlist 10.0.0.0
        "#);
    }
}
