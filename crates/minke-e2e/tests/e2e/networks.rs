//! Networks as records: made, listed, described, removed; what a container asks for of them before it runs.

use minke_e2e::{networked, within};
use serde_json::json;

#[test]
fn a_network_is_made_listed_described_and_removed() {
    networked(|rig| {
        let id = rig.ok("network create --subnet 10.211.1.0/24 --gateway 10.211.1.9 --label a=b front");
        let id = id.trim();
        assert_eq!(id.len(), 64, "{id}");
        let listed =
            rig.ok("network ls --filter type=custom --format '{{.Name}} {{.Driver}} {{.Scope}} {{.ID}}'");
        assert_eq!(listed.trim(), format!("front bridge local {}", &id[..12]));
        for filter in ["name=fro", "driver=bridge", "label=a", "label=a=b", &format!("id={}", &id[..6])] {
            let found = rig.ok(&format!("network ls -q --no-trunc --filter type=custom --filter {filter}"));
            assert_eq!(found.trim(), id, "{filter}");
        }
        assert_eq!(rig.ok("network ls -q --filter name=nosuch").trim(), "");
        let shown = rig.ok("network inspect front --format '{{(index .IPAM.Config 0).Subnet}} {{(index .IPAM.Config 0).Gateway}} {{.Internal}} {{.Labels.a}}'");
        assert_eq!(shown.trim(), "10.211.1.0/24 10.211.1.9 false b");
        assert_eq!(rig.ok("network rm front").trim(), "front");
        // An old client has words of its own for what isn't there.
        let nothing =
            if rig.client_is_like(25) { "network front not found" } else { "No such network: front" };
        rig.fails("network inspect front", 1, nothing);
        rig.fails("network rm front", 1, nothing);
        if rig.client_is_like(23) {
            rig.ok("network rm -f front");
        }
    });
}

#[test]
fn what_is_wrong_with_a_network_is_said_in_dockers_words() {
    networked(|rig| {
        rig.ok("network create --subnet 10.211.2.0/24 one");
        rig.fails("network create one", 1, "network with name one already exists");
        rig.fails(
            "network create --subnet 10.211.2.0/25 two",
            1,
            "Pool overlaps with other one on this address space",
        );
        rig.fails("network create -d nosuch two", 1, "nosuch");
        rig.fails(
            "network create --gateway 10.0.0.1 two",
            1,
            "every ip-range or gateway must have a corresponding subnet",
        );
        rig.fails(
            "network create --subnet 10.211.3.0/24 --gateway 10.212.0.1 two",
            1,
            "no matching subnet for gateway 10.212.0.1",
        );
        rig.fails("network create host", 1, "operation is not permitted on predefined host network");
        for name in ["host", "none"] {
            rig.fails(&format!("network rm {name}"), 1, "is a pre-defined network and cannot be removed");
        }
        rig.fails("network ls --filter nosuch=1", 1, "nosuch");
        assert_eq!(rig.ok("network ls -q --filter type=custom").lines().count(), 1);
    });
}

#[test]
fn unused_networks_are_pruned_and_events_tell() {
    networked(|rig| {
        rig.ok("network create --label keep=1 kept");
        rig.ok("network create gone");
        let answer = rig.post("/networks/prune?filters=%7B%22label!%22%3A%5B%22keep%22%5D%7D", &json!(null));
        assert_eq!(answer.json()["NetworksDeleted"], json!(["gone"]), "{answer:?}");
        assert_eq!(rig.ok("network ls --filter type=custom --format '{{.Name}}'").trim(), "kept");
        let line = "events --since 1 --until 0s --filter type=network --format '{{.Action}} {{index .Actor.Attributes \"name\"}} {{index .Actor.Attributes \"type\"}}'";
        let mut told = String::new();
        within(10, "the events are told", || {
            told = rig.ok(line);
            told.contains("destroy gone").then_some(())
        });
        let told: Vec<&str> = told.lines().take(3).collect();
        assert_eq!(told, ["create kept bridge", "create gone bridge", "destroy gone bridge"]);
        assert_eq!(rig.ok("network prune -f").trim(), "Deleted Networks:\nkept");
    });
}

#[test]
fn a_container_that_does_not_run_is_connected_and_disconnected() {
    networked(|rig| {
        rig.ok("network create front");
        rig.ok("network create --subnet 10.211.4.0/24 back");
        rig.ok("create --name c1 --network front busybox true");
        rig.ok("network connect --alias db --ip 10.211.4.7 back c1");
        let networks = rig.inspect("c1")["NetworkSettings"]["Networks"].clone();
        assert_eq!(networks.as_object().map(|all| all.len()), Some(2), "{networks}");
        assert_eq!(networks["back"]["IPAMConfig"]["IPv4Address"], "10.211.4.7");
        assert_eq!(networks["back"]["Aliases"][0], "db");
        let found = rig.ok("ps -a --filter network=back --format '{{.Names}}'");
        assert_eq!(found.trim(), "c1");
        rig.ok("network disconnect back c1");
        rig.fails("network disconnect back c1", 1, "is not connected to the network back");
        rig.fails(
            "network connect host c1",
            1,
            "container cannot be disconnected from host network or connected to host network",
        );
        rig.fails("network connect front nosuch", 1, "No such container: nosuch");
        rig.ok("network connect later c1");
        rig.fails("start c1", 1, "network later not found");
        rig.ok("network disconnect later c1");
        rig.fails("network disconnect -f front nosuch", 1, "endpoint nosuch not found");
    });
}
