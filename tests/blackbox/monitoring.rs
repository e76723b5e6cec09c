//! The files in `monitoring/` name only metrics that the server has.

use crate::harness::Launch;
use std::collections::BTreeSet;
use std::path::Path;

/// Words in a text that are names of our metrics, histograms by their common name.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name(c));
    let ours = words.filter(|word| word.starts_with("fanwheel_") || word.starts_with("process_"));
    let common = |word: &str| word.trim_end_matches("_bucket").to_owned();
    ours.map(common).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    let server = Launch::workers(2).start();
    let page = server.metrics().0;
    let typed = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let have: BTreeSet<&str> = typed.filter_map(|rest| rest.split(' ').next()).collect();
    for name in ["fanwheel.rules.yml", "grafana-dashboard.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring").join(name);
        let text = std::fs::read_to_string(path).expect("shipped");
        let named = metrics_in(&text);
        assert!(named.len() > 10, "{name}: {named:?}");
        let strangers: Vec<&String> = named.iter().filter(|name| !have.contains(name.as_str())).collect();
        assert!(strangers.is_empty(), "{name} names {strangers:?}, which /metrics has not");
    }
}

#[test]
fn panels_of_the_dashboard_have_ids_and_places_of_their_own() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("monitoring/grafana-dashboard.json");
    let text = std::fs::read_to_string(path).expect("shipped");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["title"]);
        let at = |key: &str| panel["gridPos"][key].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{}", panel["title"]);
        for (x, y) in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(cells.insert((x, y)), "{} covers another", panel["title"]);
        }
    }
}
