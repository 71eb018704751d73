//! What is better read than drawn.

use std::fmt::Write as _;

use serde_json::Value;

use crate::summary::{Summary, Tone};

use super::escaped;

/// One row for each threshold, kept or broken.
pub fn thresholds(summary: &Summary) -> String {
    if summary.thresholds.is_empty() {
        return String::new();
    }
    let mut rows = String::new();
    for verdict in &summary.thresholds {
        let (class, word) = match (verdict.kept, verdict.aborted) {
            (true, _) => ("good", "kept"),
            (false, false) => ("red", "broken"),
            (false, true) => ("red", "broken, and ended the run"),
        };
        let value = verdict.shown();
        let _ = write!(
            rows,
            "<tr><th>{}</th><td class=\"figure\">{value}</td><td class=\"{class}\">{word}</td></tr>",
            escaped(&verdict.bound)
        );
    }
    section("Thresholds", "", &format!("<table>{rows}</table>"))
}

/// What went wrong, by kind, code and cause.
pub fn notices(summary: &Summary) -> String {
    if summary.notices.is_empty() {
        return String::new();
    }
    let mut rows = String::from(
        "<tr class=\"head\"><th>What</th><th>Code</th><th>Cause</th><th class=\"figure\">Count</th><th>First example</th></tr>",
    );
    for notice in &summary.notices {
        let code = notice
            .code
            .map_or_else(String::new, |code| code.to_string());
        let session = notice
            .session
            .map_or_else(String::new, |session| format!("session {session}: "));
        let _ = write!(
            rows,
            "<tr><td>{}</td><td>{code}</td><td>{}</td><td class=\"figure\">{}</td><td class=\"octets\">{}{}</td></tr>",
            escaped(notice.kind.text()),
            escaped(&notice.cause),
            notice.count,
            escaped(&session),
            escaped(&notice.example)
        );
    }
    section(
        "What went wrong",
        "By kind, code and cause.",
        &format!("<table class=\"notices\">{rows}</table>"),
    )
}

/// The rows of the table that a run prints.
pub fn figures(summary: &Summary) -> String {
    let mut rows = String::new();
    for row in summary.rows() {
        let class = match row.tone {
            Tone::Plain => "",
            Tone::Warning => "amber",
            Tone::Bad => "red",
        };
        let _ = write!(
            rows,
            "<tr><th>{}</th><td class=\"{class}\">{}</td></tr>",
            escaped(&row.title),
            escaped(&row.text)
        );
    }
    section(
        "All figures",
        "",
        &format!("<table class=\"figures\">{rows}</table>"),
    )
}

/// Machine and settings.
pub fn configuration(summary: &Summary) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        let _ = write!(
            rows,
            "<tr><th>{}</th><td>{}</td></tr>",
            escaped(name),
            escaped(value)
        );
    };
    let host = &summary.host;
    row("machine", &host.name);
    row(
        "processor",
        &format!("{}, {} cores", host.processor, host.cores),
    );
    row("memory", &format!("{} MiB", host.memory_mib));
    row("system", &host.system);
    row("msrpload", &summary.version);
    for relay in &summary.relay_versions {
        row("relay", relay);
    }
    let mut settings = Vec::new();
    flatten("", &summary.configuration, &mut settings);
    for (name, value) in settings {
        row(&name, &value);
    }
    section(
        "Machine and configuration",
        "",
        &format!("<table class=\"figures\">{rows}</table>"),
    )
}

/// Settings that say something, by their path.
fn flatten(path: &str, value: &Value, found: &mut Vec<(String, String)>) {
    let below = |name: &str| match path {
        "" => name.replace('_', " "),
        _ => format!("{path}: {}", name.replace('_', " ")),
    };
    match value {
        Value::Null | Value::Bool(false) => {}
        Value::Object(members) => {
            for (name, member) in members {
                flatten(&below(name), member, found);
            }
        }
        Value::Array(members) if members.iter().all(Value::is_object) => {
            for (number, member) in members.iter().enumerate() {
                let name = member
                    .get("name")
                    .or(member.get("host"))
                    .and_then(Value::as_str);
                let name = name.map_or_else(|| number.to_string(), str::to_owned);
                flatten(&below(&name), member, found);
            }
        }
        Value::Array(members) => {
            let words: Vec<String> = members.iter().map(word).collect();
            found.push((path.to_owned(), words.join(", ")));
        }
        other => found.push((path.to_owned(), word(other))),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".into(),
        other => other.to_string(),
    }
}

pub fn section(title: &str, about: &str, inside: &str) -> String {
    let about = match about {
        "" => String::new(),
        text => format!("<p class=\"about\">{text}</p>"),
    };
    format!("<section class=\"wide\"><h2>{title}</h2>{about}{inside}</section>")
}
