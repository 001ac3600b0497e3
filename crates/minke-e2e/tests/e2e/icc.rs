//! Containers of a network that don't reach one another, but by links.

use minke_e2e::engine::NETWORKS;
use minke_e2e::{Rig, clients, networked, within};

/// Serves at the ports 80 and 81.
const SERVE: &str =
    "sh -c 'mkdir -p /www && echo hello >/www/index.html && httpd -p 81 -h /www && httpd -f -p 80 -h /www'";

/// Whether a container gets a page.
fn gets(rig: &Rig, container: &str, url: &str) -> bool {
    rig.cli(&format!("exec {container} timeout 2 wget -q -O - {url}")).text() == "hello"
}

fn until_it_gets(rig: &Rig, container: &str, url: &str) {
    within(20, &format!("{container} gets {url}"), || gets(rig, container, url).then_some(()));
}

fn address(rig: &Rig, container: &str, network: &str) -> String {
    let found = rig.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"].clone();
    found.as_str().unwrap_or_default().to_string()
}

#[test]
fn containers_of_a_closed_network_reach_the_outside_and_not_each_other() {
    networked(|rig| {
        rig.ok("network create --subnet 10.211.30.0/24 -o com.docker.network.bridge.enable_icc=false front");
        rig.ok(&format!("run -d --name web --network front -p 8080:80 busybox {SERVE}"));
        rig.ok("run -d --name one --network front busybox sleep 1000");
        within(20, "the host gets the page", || {
            let page = rig.on_host(&["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]);
            (page.text() == "hello").then_some(())
        });
        rig.ok("exec one ping -c 1 -W 5 10.211.30.1");
        // A name is answered; what it stands for is not reached.
        let web = address(rig, "web", "front");
        assert!(rig.ok("exec one nslookup -type=a web").contains(&web));
        assert!(!gets(rig, "one", &format!("http://{web}/")));
        assert_ne!(rig.cli(&format!("exec one ping -c 1 -W 1 {web}")).code, 0);
    });
}

#[test]
fn a_link_opens_what_is_exposed() {
    for client in clients() {
        Rig::run(client, &[NETWORKS, "--icc=false"], |rig| {
            if !rig.client_is_like(23) {
                return; // the client takes the bridge, when it is named, for one that has no links
            }
            rig.ok(&format!("run -d --network bridge --name db --expose 80 busybox {SERVE}"));
            rig.ok("run -d --network bridge --name web --link db:store busybox sleep 1000");
            rig.ok("run -d --network bridge --name other busybox sleep 1000");
            until_it_gets(rig, "web", "http://store/");
            assert!(!gets(rig, "web", "http://store:81/"), "it is not exposed");
            let db = address(rig, "db", "bridge");
            assert!(!gets(rig, "other", &format!("http://{db}/")), "it has no link");
            // The link follows the container to its next run, and its address.
            rig.ok("stop -t 0 db");
            rig.ok("run -d --network bridge --name taker busybox sleep 1000");
            rig.ok("start db");
            until_it_gets(rig, "web", "http://store/");
            assert!(!gets(rig, "web", "http://store:81/"));
            rig.ok("rm --link web/store");
            let db = address(rig, "db", "bridge");
            assert!(!gets(rig, "web", &format!("http://{db}/")), "the link is gone");
            assert!(!rig.ok("exec web cat /etc/hosts").contains("store"));
            rig.remove_all();
        });
    }
}
