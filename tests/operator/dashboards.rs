//! Dashboards and alerts ask for what a relay serves, and for nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::place::Place;

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deployed(name)).expect("a file of the repository")
}

/// The expressions of all panels.
fn panels() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("grafana/msrpd.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"));
    targets
        .map(|target| target["expr"].as_str().expect("a query").to_owned())
        .collect()
}

/// The expressions of all alerts, one on each line.
fn alerts() -> Vec<String> {
    read("prometheus/alerts.yml")
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .map(str::to_owned)
        .collect()
}

/// Metrics in an expression, each with the labels that have to equal something.
fn asked_for(expression: &str) -> Vec<(String, Vec<String>)> {
    let mut asked = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find("msrpd_") {
        rest = &rest[at..];
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let labels = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'))
            .map_or("", |(labels, _)| labels);
        let equal = labels
            .split(',')
            .filter(|label| label.contains('=') && !label.contains("=~") && !label.contains("!="))
            .map(str::to_owned);
        asked.push((name.to_owned(), equal.collect()));
        rest = after;
    }
    asked
}

#[test]
fn every_metric_of_a_dashboard_or_an_alert_is_served() {
    let place = Place::new();
    let relay = place.run();
    let scrape = relay.get("/metrics");
    let expressions = [panels(), alerts()].concat();
    assert!(expressions.len() > 30);
    let mut names = BTreeSet::new();
    for expression in &expressions {
        let asked = asked_for(expression);
        assert!(!asked.is_empty() || expression.starts_with("up{"));
        for (name, labels) in asked {
            let served = scrape.lines().any(|line| {
                line.strip_prefix(&name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
                    && labels.iter().all(|label| line.contains(label.as_str()))
            });
            assert!(served, "nobody serves {name} {labels:?} of `{expression}`");
            names.insert(name);
        }
    }
    assert!(names.len() > 20, "{names:?}");
}

#[test]
fn what_is_not_served_would_be_seen() {
    let asked = asked_for(r#"rate(msrpd_nothing_total{instance=~"$i",reason="x"}[5m]) > msrpd_b"#);
    assert_eq!(asked[0].0, "msrpd_nothing_total");
    assert_eq!(asked[0].1, [r#"reason="x""#]);
    assert_eq!(asked[1], ("msrpd_b".to_owned(), Vec::new()));
}

#[test]
fn promtool_accepts_the_alerts() {
    let output = Command::new("promtool")
        .args(["check", "rules"])
        .arg(deployed("prometheus/alerts.yml"))
        .output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "CI installs promtool");
        eprintln!("promtool is not installed; the alerts are not checked with it");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
