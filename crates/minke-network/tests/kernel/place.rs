//! Network namespaces that play host, container, neighbour and outsider.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use minke_network::link::{
    EndpointPlan, Interface, Kernel, LinkPlan, Mac, Namespace, plan_endpoint, plan_link,
};
use minke_network::{Driver, Names, Network, Subnet};

/// How long is waited for what must come.
pub const SOON: Duration = Duration::from_secs(5);

/// How long is waited for what must not come. Nothing fails where it is too short: what comes comes at once.
pub const NEVER: Duration = Duration::from_millis(250);

/// Makes a namespace with `lo` up.
pub fn namespace() -> Namespace {
    std::thread::spawn(|| {
        minke_sys::link::enter_new_network().expect("this test needs root");
        Namespace::new_here().unwrap()
    })
    .join()
    .unwrap()
}

/// Makes a namespace without anything: not even 127.0.0.1 is its own.
pub fn bare_namespace() -> Namespace {
    std::thread::spawn(|| {
        minke_sys::process::unshare(u64::from(minke_sys::process::CLONE_NEWNET))
            .expect("this test needs root");
        Namespace::new_here().unwrap()
    })
    .join()
    .unwrap()
}

/// A host: an engine's kernel in a namespace of its own.
pub struct Host {
    pub namespace: Namespace,
    pub kernel: Kernel,
    pub names: Names,
}

/// What is attached to a network.
pub struct Guest {
    pub namespace: Namespace,
    pub plan: EndpointPlan,
}

impl Host {
    pub fn new() -> Self {
        let names = Names::of(Path::new("/run/minke-test"));
        let namespace = namespace();
        let kernel = namespace.run(|| Kernel::open(&names)).unwrap().unwrap();
        let host = Self { namespace, kernel, names };
        host.filter_bridges(false);
        // A new namespace has some of the machine's settings.
        host.set("ipv4/ip_forward", "0");
        host
    }

    /// A host that forwards packets.
    pub fn forwarding() -> Self {
        let host = Self::new();
        host.set("ipv4/ip_forward", "1");
        host.set("ipv6/conf/all/forwarding", "1");
        host
    }

    /// Whether packets on bridges pass the packet filter; a kernel without that never does it, and each test holds there too.
    pub fn filter_bridges(&self, on: bool) {
        let on = if on { "1" } else { "0" };
        let write = |name: &str| drop(std::fs::write(format!("/proc/sys/net/bridge/{name}"), on));
        self.namespace.run(|| ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"].map(write)).unwrap();
    }

    /// Writes one of the host's settings, by its path below `/proc/sys/net`.
    pub fn set(&self, path: &str, value: &str) {
        self.namespace.run(|| std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap()).unwrap();
    }

    /// Makes the network's link.
    pub fn make(&self, network: &Network) -> LinkPlan {
        let plan = plan_link(network, None).unwrap();
        self.kernel.make(&plan).unwrap();
        plan
    }

    /// Connects a namespace of its own by these addresses; the gateways are the first ones of their subnets.
    pub fn guest(&self, network: &Network, addresses: &[&str]) -> Guest {
        self.guest_in(network, addresses, namespace())
    }

    /// Connects a namespace by these addresses.
    pub fn guest_in(&self, network: &Network, addresses: &[&str], namespace: Namespace) -> Guest {
        let interface = interface(network, "eth0", addresses);
        let plan = plan_endpoint(network, &interface, &self.names, None).unwrap().unwrap();
        self.kernel.attach(&plan, &namespace).unwrap();
        Guest { namespace, plan }
    }

    /// Makes a device of the host that is connected to a bridge made by [`Host::neighbour`], as a card is to a switch.
    pub fn parent_on(&self, switch: &str, name: &str) -> String {
        let network = network(switch, &[("com.docker.network.bridge.name", switch)], &[]);
        let interface = interface(&network, name, &[]);
        let others = Names::of(Path::new("/run/somebody-else"));
        let kernel = self.namespace.run(|| Kernel::open(&others)).unwrap().unwrap();
        let plan = plan_endpoint(&network, &interface, &others, None).unwrap().unwrap();
        kernel.attach(&plan, &self.namespace).unwrap();
        name.to_string()
    }

    /// Makes a neighbour, a namespace connected by a pair of interfaces: `eth0` there, `name` here.
    pub fn neighbour(&self, name: &str, here: &[&str], there: &[&str]) -> Namespace {
        self.neighbour_in(name, here, there, namespace())
    }

    /// Makes a namespace a neighbour.
    pub fn neighbour_in(&self, name: &str, here: &[&str], there: &[&str], namespace: Namespace) -> Namespace {
        // The kernel part is that of a bridge with one port: its address is the host's.
        let network = network(name, &[("com.docker.network.bridge.name", name)], &[]);
        let mut link = plan_link(&network, None).unwrap();
        if let LinkPlan::Bridge(bridge) = &mut link {
            bridge.addresses = here.iter().map(|text| text.parse().unwrap()).collect();
            bridge.ipv6 = true;
        }
        // Not the engine's own: somebody else made it.
        let others = Names::of(Path::new("/run/somebody-else"));
        let kernel = self.namespace.run(|| Kernel::open(&others)).unwrap().unwrap();
        kernel.make(&link).unwrap();
        self.namespace.run(|| of_no_engine(name)).unwrap();
        let interface = interface(&network, "eth0", there);
        let plan = plan_endpoint(&network, &interface, &others, None).unwrap().unwrap();
        kernel.attach(&plan, &namespace).unwrap();
        namespace
    }
}

/// Takes a link out of the group of engines' bridges: it is to be one that others made.
fn of_no_engine(name: &str) {
    use minke_sys::netlink::{ACK, Batch, Family, Socket};
    use netlink_packet_core::Emitable;
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};
    const SET_LINK: u16 = 19;
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::Group(0)];
    let mut batch = Batch::default();
    batch.push(SET_LINK, ACK, |bytes| {
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.emit(&mut bytes[start..]);
    });
    Socket::open(Family::Route).unwrap().apply(&batch).unwrap();
}

/// An endpoint's interface with these addresses and the first ones of their subnets as gateways.
pub fn interface(network: &Network, name: &str, addresses: &[&str]) -> Interface {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut interface = Interface {
        endpoint: format!("{number:064x}"),
        name: name.into(),
        mac: None,
        ipv4: None,
        ipv6: None,
        link_local: Vec::new(),
        gateway4: None,
        gateway6: None,
        settings: BTreeMap::new(),
    };
    for text in addresses {
        match text.parse().unwrap() {
            ipnet::IpNet::V4(net) => {
                interface.mac = Some(Mac::of_ipv4(net.addr()));
                interface.ipv4 = Some(net);
                interface.gateway4 = (!network.internal).then(|| first(net.network().into())).and_then(v4);
            }
            ipnet::IpNet::V6(net) => {
                interface.ipv6 = Some(net);
                interface.gateway6 = (!network.internal).then(|| first(net.network().into())).and_then(v6);
            }
        }
    }
    interface
}

fn first(network: IpAddr) -> IpAddr {
    match network {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) + 1).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) + 1).into()),
    }
}

fn v4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

fn v6(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}

/// A bridge network of this name (which makes its id) with these subnets.
pub fn network(name: &str, options: &[(&str, &str)], subnets: &[&str]) -> Network {
    Network {
        id: name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>()
            + &"0".repeat(64 - 2 * name.len()),
        name: name.into(),
        created: String::new(),
        driver: Driver::Bridge,
        ipv4: true,
        ipv6: subnets.iter().any(|text| text.contains(':')),
        subnets: subnets
            .iter()
            .map(|text| Subnet {
                shown: (*text).to_string(),
                net: text.parse().unwrap(),
                range: None,
                gateway: None,
                named: true,
                auxiliary: BTreeMap::new(),
            })
            .collect(),
        internal: false,
        attachable: false,
        config_only: false,
        unused: Vec::new(),
        config_from: String::new(),
        ipam_driver: "default".into(),
        ipam_options: None,
        options: options.iter().map(|(key, value)| ((*key).to_string(), (*value).to_string())).collect(),
        labels: minke_api::StringMap::default(),
    }
}

/// Answers every connection at an address of a namespace with the address that it came from, until the test ends.
pub fn serve(namespace: &Namespace, address: &str) -> JoinHandle<()> {
    let listener = namespace.run(|| TcpListener::bind(address)).unwrap().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let Ok(peer) = stream.peer_addr() else { continue };
            let _ = stream.write_all(peer.ip().to_canonical().to_string().as_bytes());
        }
    })
}

/// Connects from a namespace and returns what address the server saw; none where nothing came of it.
pub fn seen(namespace: &Namespace, to: &str, wait: Duration) -> Option<String> {
    let to: SocketAddr = to.parse().unwrap();
    namespace
        .run(|| {
            let mut stream = TcpStream::connect_timeout(&to, wait).ok()?;
            stream.set_read_timeout(Some(wait)).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
        .unwrap()
}
