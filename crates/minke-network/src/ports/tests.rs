use super::*;

/// A host on which some ports belong to other programs.
#[derive(Default)]
struct Pretended {
    others: Vec<u16>,
    reserved: Vec<SocketAddr>,
    start: u16,
}

impl Host for Pretended {
    fn reserve(&mut self, published: &Published) -> std::io::Result<()> {
        if self.others.contains(&published.host.port()) {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        self.reserved.push(published.host);
        Ok(())
    }

    fn give_back(&mut self, published: &Published) {
        self.reserved.retain(|host| *host != published.host);
    }

    fn somewhere(&mut self, most: u16) -> u16 {
        self.start.min(most)
    }
}

const BOTH: Reach = Reach { default_address: None, v4: true, v6: true };

fn tcp(container_port: u16, host: Option<&str>, host_ports: Option<RangeInclusive<u16>>) -> Wanted {
    let host_address = host.map(|host| host.parse().unwrap());
    Wanted { protocol: Protocol::Tcp, container_port, host_address, host_ports }
}

fn publish(ports: &mut Ports, host: &mut Pretended, holder: &str, wanted: &[Wanted]) -> Result<Vec<String>> {
    let published = ports.publish(holder, wanted, BOTH, &(40_000..=40_003), host)?;
    Ok(published.iter().map(|one| format!("{}>{}", one.host, one.container_port)).collect())
}

#[test]
fn a_port_without_an_address_is_published_at_all_of_both_families() {
    let (mut ports, mut host) = Default::default();
    let got = publish(&mut ports, &mut host, "a", &[tcp(80, None, Some(8080..=8080))]).unwrap();
    assert_eq!(got, ["0.0.0.0:8080>80", "[::]:8080>80"]);
}

#[test]
fn a_port_that_a_container_has_is_refused_with_its_name_also_at_another_address() {
    let (mut ports, mut host) = Default::default();
    publish(&mut ports, &mut host, "web", &[tcp(80, Some("127.0.0.1"), Some(8080..=8080))]).unwrap();
    let error = publish(&mut ports, &mut host, "b", &[tcp(80, None, Some(8080..=8080))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Bind for 0.0.0.0:8080 failed: port is already allocated: container web has it"
    );
    publish(&mut ports, &mut host, "c", &[tcp(80, Some("127.0.0.2"), Some(8080..=8080))]).unwrap();
    let udp = Wanted { protocol: Protocol::Udp, ..tcp(80, None, Some(8080..=8080)) };
    publish(&mut ports, &mut host, "d", &[udp]).unwrap();
}

#[test]
fn a_failure_gives_everything_back() {
    let (mut ports, mut host) = (Ports::default(), Pretended { others: vec![9000], ..Default::default() });
    let wanted = [tcp(80, None, Some(8080..=8080)), tcp(81, None, Some(9000..=9000))];
    let error = publish(&mut ports, &mut host, "a", &wanted).unwrap_err();
    assert!(error.to_string().starts_with("failed to bind host port 0.0.0.0:9000/tcp: "), "{error}");
    assert!(host.reserved.is_empty() && ports.held.is_empty());
    publish(&mut ports, &mut host, "b", &wanted[..1]).unwrap();
}

#[test]
fn a_range_gives_its_first_free_port_whoever_has_the_others() {
    let (mut ports, mut host) = (Ports::default(), Pretended { others: vec![8001], ..Default::default() });
    let wanted = [tcp(80, Some("0.0.0.0"), Some(8000..=8002))];
    assert_eq!(publish(&mut ports, &mut host, "a", &wanted).unwrap(), ["0.0.0.0:8000>80"]);
    assert_eq!(publish(&mut ports, &mut host, "b", &wanted).unwrap(), ["0.0.0.0:8002>80"]);
    let error = publish(&mut ports, &mut host, "c", &wanted).unwrap_err();
    assert_eq!(error.to_string(), "Bind for 0.0.0.0:8000-8002 failed: all ports are allocated");
}

#[test]
fn an_ephemeral_port_comes_from_the_hosts_range_and_is_the_same_for_both_families() {
    let (mut ports, mut host) =
        (Ports::default(), Pretended { start: 3, others: vec![40_003], ..Default::default() });
    let got = publish(&mut ports, &mut host, "a", &[tcp(80, None, None), tcp(81, None, None)]).unwrap();
    assert_eq!(got, ["0.0.0.0:40000>80", "[::]:40000>80", "0.0.0.0:40001>81", "[::]:40001>81"]);
}

#[test]
fn what_was_given_up_or_adopted_is_known() {
    let (mut ports, mut host) = (Ports::default(), Pretended::default());
    let at: SocketAddr = "0.0.0.0:80".parse().unwrap();
    ports.adopt("old", &[Published { protocol: Protocol::Tcp, host: at, container_port: 1 }]);
    assert_eq!(ports.holder(Protocol::Tcp, "192.0.2.1:80".parse().unwrap()), Some("old"));
    assert!(publish(&mut ports, &mut host, "a", &[tcp(1, None, Some(80..=80))]).is_err());
    ports.release("old");
    publish(&mut ports, &mut host, "a", &[tcp(1, None, Some(80..=80))]).unwrap();
}

#[test]
fn the_daemons_default_address_is_used_and_a_family_that_is_not_there_is_refused() {
    let mut ports = Ports::default();
    let mut host = Pretended::default();
    let local = Reach { default_address: Some("127.0.0.1".parse().unwrap()), v4: true, v6: false };
    let all = ports.publish("a", &[tcp(80, None, Some(1..=1))], local, &(2..=2), &mut host).unwrap();
    assert_eq!(all[0].host, "127.0.0.1:1".parse().unwrap());
    let six = [tcp(80, Some("::1"), Some(2..=2))];
    assert!(ports.publish("b", &six, local, &(2..=2), &mut host).is_err());
}
