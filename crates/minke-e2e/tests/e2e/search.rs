//! `search`: at a registry that can be searched as Docker's own can, and at one that only lists what it has.

use minke_e2e::registry::{DockerRegistry, Registry};
use minke_e2e::{Rig, case, escape, once};
use serde_json::{Value, json};

fn repositories() -> Value {
    json!({"num_results": 3, "results": [
        {"name": "busybox", "description": "Small\nand whole", "star_count": 3000, "is_official": true, "is_automated": true},
        {"name": "me/busybox", "description": "x".repeat(60), "star_count": 7, "is_official": false},
        {"name": "you/busybox", "description": null, "star_count": 0},
    ]})
}

fn names(rig: &Rig, more: &str) -> Vec<String> {
    let found = rig.ok(&format!("search --format {{{{.Name}}}} {more}"));
    found.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_found_is_listed_and_filtered() {
    let registry = Registry::start();
    registry.answer_searches(repositories());
    let term = registry.name("busybox");
    case(|rig| {
        let table = rig.ok(&format!("search {term}"));
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("NAME          DESCRIPTION"), "{table}");
        // Old clients have one more column.
        let titles = lines[0].trim_end_matches("AUTOMATED").trim_end();
        assert!(titles.ends_with("STARS     OFFICIAL"), "{table}");
        assert!(lines[1].contains("Small and whole") && lines[1].trim_end().ends_with("[OK]"), "{table}");
        assert!(lines[2].contains(&format!("{}…", "x".repeat(44))), "{table}");
        assert!(rig.ok(&format!("search --no-trunc {term}")).contains(&"x".repeat(60)));
        assert_eq!(names(rig, &format!("--filter is-official=true {term}")), ["busybox"]);
        assert_eq!(names(rig, &format!("--filter stars=7 {term}")), ["busybox", "me/busybox"]);
        assert_eq!(names(rig, &format!("--limit 1 {term}")), ["busybox"]);
        assert!(names(rig, &format!("--filter is-automated=true {term}")).is_empty());
        rig.fails(&format!("search --limit 101 {term}"), 1, "limit 101 is outside the range of [1, 100]");
        rig.fails(&format!("search --filter stars=many {term}"), 1, "invalid filter 'stars=many'");
        rig.fails(&format!("search --filter nonsense=1 {term}"), 1, "invalid filter 'nonsense'");
    });
}

#[test]
fn a_registry_without_a_search_is_searched_by_its_catalog() {
    once(|rig| {
        let registry = DockerRegistry::start(&rig.scratch().join("registry"), "");
        for name in ["team/box:1", "other/box:1", "else:1"] {
            rig.ok(&format!("tag busybox {}", registry.name(name)));
            rig.ok(&format!("push -q {}", registry.name(name)));
        }
        assert_eq!(names(rig, &registry.name("box")), ["other/box", "team/box"]);
        let answer = rig.get(&format!("/images/search?term={}", escape(&registry.name("els"))));
        assert_eq!(answer.status, 200, "{answer:?}");
        let expected = json!([{
            "star_count": 0, "is_official": false, "name": "else", "is_automated": false, "description": ""
        }]);
        assert_eq!(answer.json(), expected);
    });
}
