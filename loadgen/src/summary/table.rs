//! A result as rows: a title and a text. The table that ends a run prints them, the report shows them.

use std::fmt::Write as _;

use super::Summary;
use super::text::{grouped, micros, rounded};

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Warning,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub title: String,
    pub text: String,
    pub tone: Tone,
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn push(&mut self, title: &str, text: String) {
        self.tone(title, text, Tone::Plain);
    }

    fn tone(&mut self, title: &str, text: String, tone: Tone) {
        let title = title.to_owned();
        self.0.push(Row { title, text, tone });
    }

    /// A count that should be 0.
    fn fault(&mut self, title: &str, count: u64, text: String) {
        let tone = if count > 0 { Tone::Bad } else { Tone::Plain };
        self.tone(title, text, tone);
    }
}

impl Summary {
    /// The table that ends a run.
    pub fn table(&self) -> String {
        let mut out = String::new();
        for row in self.rows() {
            let _ = writeln!(out, "  {:<20}{}", row.title, row.text);
        }
        out
    }

    pub fn rows(&self) -> Vec<Row> {
        let mut rows = Rows::default();
        self.time_row(&mut rows);
        if self.sent_anything() {
            self.count_rows(&mut rows);
            self.rate_rows(&mut rows);
        }
        self.group_rows(&mut rows);
        self.beside_rows(&mut rows);
        for (name, latencies) in &self.scraped_us {
            let name = name.trim_start_matches("msrpd_");
            let name = name.trim_end_matches("_duration_seconds");
            rows.push(&format!("relay: {name}"), latencies.text());
        }
        self.set_up_rows(&mut rows);
        self.cost_rows(&mut rows);
        self.closing_rows(&mut rows);
        rows.0
    }

    fn sent_anything(&self) -> bool {
        self.counts.sent + self.warmup.sent + self.measured.due > 0
    }

    fn time_row(&self, rows: &mut Rows) {
        let m = &self.measured;
        let mut text = format!(
            "{:.1} s after {:.1} s of warm-up",
            m.seconds, m.warmup_seconds
        );
        if let Some(why) = &self.ended_early {
            let _ = write!(text, "; {why}");
        }
        rows.push("measured", text);
    }

    fn count_rows(&self, rows: &mut Rows) {
        let (c, m) = (&self.counts, &self.measured);
        if let Some(achieved) = m.achieved_percent {
            let not_sent = m.not_sent + m.not_sent_own;
            let text = format!(
                "{}, {} sent ({achieved:.1} %), {} not sent",
                grouped(m.due),
                grouped(m.sent),
                grouped(not_sent)
            );
            rows.fault("due", not_sent, text);
        }
        rows.push("sent", grouped(c.sent));
        rows.push("acknowledged", grouped(c.acknowledged));
        rows.push("delivered", grouped(c.delivered));
        rows.push("reported", grouped(c.reported));
        rows.fault("lost", c.lost, grouped(c.lost));
        for (title, count) in [
            ("without 200", c.unanswered),
            ("without report", c.unconfirmed),
        ] {
            if count > 0 {
                rows.fault(title, count, grouped(count));
            }
        }
        rows.fault("wrong", self.wrong(), self.wrong_text());
        if c.overtaken > 0 {
            rows.push("overtaken", grouped(c.overtaken));
        }
        if c.reported_although_delivered > 0 {
            let text = format!(
                "{} that had been delivered",
                grouped(c.reported_although_delivered)
            );
            rows.push("reported", text);
        }
        let confirmed = &self.measured.confirmation_us;
        if confirmed.count > 0 {
            let text = format!("{}  {}", grouped(confirmed.count), confirmed.text());
            rows.push("success reports", text);
        }
        let w = &self.warmup;
        if w.lost + w.unanswered + w.unconfirmed + w.reported > 0 {
            let text = format!(
                "{} sent, {} reported, {} lost, {} without 200",
                w.sent, w.reported, w.lost, w.unanswered
            );
            rows.fault(
                "in the warm-up",
                w.lost + w.unanswered + w.unconfirmed,
                text,
            );
        }
    }

    fn rate_rows(&self, rows: &mut Rows) {
        let m = &self.measured;
        let mut rate = format!("{} messages/s", rounded(m.messages_per_second));
        if let Some(asked) = m.asked_per_second {
            let _ = write!(rate, " of {} asked for", rounded(asked));
        }
        rows.push("rate", rate);
        rows.push("throughput", format!("{:.1} MB/s", m.megabytes_per_second));
        match m.delivery_us.count {
            0 => rows.tone("delivery", "nothing was delivered".into(), Tone::Bad),
            _ => rows.push("delivery", m.delivery_us.text()),
        }
        for (title, latency) in [
            ("200", &m.acknowledgement_us),
            ("200s held", &m.held_us),
            ("failure known", &m.report_us),
        ] {
            if latency.count > 0 {
                rows.push(title, latency.text());
            }
        }
    }

    fn group_rows(&self, rows: &mut Rows) {
        for group in &self.groups {
            let c = &group.counts;
            let text = format!(
                "{}/s  {}  {} sent, {} delivered, {} reported, {} lost",
                rounded(group.messages_per_second),
                group.delivery_us.text(),
                grouped(c.sent),
                grouped(c.delivered),
                grouped(c.reported),
                grouped(c.lost)
            );
            rows.fault(&format!("group {}", group.name), c.lost, text);
        }
    }

    fn beside_rows(&self, rows: &mut Rows) {
        if let Some(films) = &self.films {
            let c = &films.counts;
            let mut text = format!(
                "{} sent, {} whole, {} refused or failed, {} lost, {:.1} MB/s",
                c.sent, c.delivered, c.reported, c.lost, films.megabytes_per_second
            );
            if let Some(p50) = films.delivery_us.p50 {
                let _ = write!(text, ", {} each", micros(p50));
            }
            rows.fault("films", c.lost, text);
        }
        if let Some(churn) = &self.churn {
            let text = format!(
                "{:.0}/s  {}",
                churn.rounds_per_second,
                churn.round_us.text()
            );
            rows.push("rounds", text);
            for (name, rate, took) in [
                ("TLS", churn.handshakes_per_second, &churn.handshake_us),
                ("AUTH", churn.auths_per_second, &churn.auth_us),
            ] {
                if took.count > 0 {
                    rows.push(name, format!("{rate:.0}/s  {}", took.text()));
                }
            }
            if churn.upgrade_us.count > 0 {
                rows.push("WebSocket", churn.upgrade_us.text());
            }
            if let Some(us) = churn.relay_cpu_us_per_round {
                rows.push("relay CPU", format!("{us:.0} us per round"));
            }
        }
        if let Some(hostile) = &self.hostile {
            let sum = hostile.sum();
            let text = format!(
                "{} connections, {} opened, {} thrown out, {} not let in",
                hostile.connections,
                grouped(sum.opened),
                grouped(sum.ended),
                grouped(sum.refused)
            );
            rows.push("bad company", text);
        }
        if let Some(standing) = &self.standing {
            let c = &standing.counts;
            let mut text = format!(
                "{} messages to a receiver that stands still, {} arrived, {} reported, {} lost",
                c.sent, c.delivered, c.reported, c.lost
            );
            if let Some(max) = standing.reported_after_us.max {
                let _ = write!(text, ", the last after {}", micros(max));
            }
            rows.fault("standing", c.lost, text);
        }
        if let Some(r) = &self.reconnect {
            let text = format!(
                "{} connections lost, {} of {} sessions back, {} messages lost with them, {} AUTHs, {} vain attempts",
                r.connections_lost,
                r.sessions_back,
                r.sessions_broken,
                r.lost,
                r.auths,
                r.attempts_failed
            );
            rows.push("reconnected", text);
            if r.recovery_us.count > 0 {
                rows.push("recovery", r.recovery_us.text());
            }
        }
    }

    fn set_up_rows(&self, rows: &mut Rows) {
        let s = &self.set_up;
        if self.sent_anything() {
            return;
        }
        let text = format!(
            "{} in {:.1} s, {:.0}/s",
            grouped(s.connections as u64),
            s.seconds,
            s.connections_per_second
        );
        rows.push("connections", text);
        if s.handshake_us.count > 0 {
            rows.push("TLS", s.handshake_us.text());
        }
        if s.upgrade_us.count > 0 {
            rows.push("WebSocket", s.upgrade_us.text());
        }
        rows.push("AUTH", s.auth_us.text());
        if let Some(us) = s.relay_cpu_us_per_connection {
            rows.push(
                "relay CPU",
                format!("{us:.1} us per connection with TLS and AUTH"),
            );
        }
    }

    fn cost_rows(&self, rows: &mut Rows) {
        if let Some(r) = &self.relay {
            let mut text = format!(
                "{:.0} % of a core (user {:.2} s, system {:.2} s)",
                r.cpu_share * 100.0,
                r.user_seconds,
                r.system_seconds
            );
            if let Some(us) = r.cpu_us_per_message {
                let _ = write!(text, ", {us:.2} us per message");
            }
            if let Some(ns) = r.cpu_ns_per_octet {
                let _ = write!(text, ", {ns:.2} ns per octet");
            }
            rows.push("relay CPU", text);
            let each = match (self.counts.sent, r.rss_kib_per_connection, &r.served_before) {
                (0, Some(kib), _) => format!(" ({kib:.2} KiB each)"),
                (0, None, Some(why)) => format!(" (each: not comparable, {why}; start it afresh)"),
                _ => String::new(),
            };
            let text = format!(
                "{:.1} MiB before, {:.1} with all connections, {:.1} at the end{each}",
                r.rss_mib_before, r.rss_mib_set_up, r.rss_mib_end
            );
            rows.push("relay RSS", text);
        }
        let o = &self.own;
        let mut text = format!("{:.0} % of a core", o.cpu_share * 100.0);
        if let Some(us) = o.cpu_us_per_message {
            let _ = write!(text, ", {us:.2} us per message");
        }
        let _ = write!(
            text,
            ", waited for it {:.1} % of the time",
            o.waited_share * 100.0
        );
        if let Some(p99) = o.lateness_us.p99 {
            let _ = write!(text, ", late by p99 {}", micros(p99));
        }
        rows.push("own CPU", text);
    }

    fn closing_rows(&self, rows: &mut Rows) {
        if self.lost_connections > 0 && self.reconnect.is_none() {
            let text = format!(
                "{} ended although nobody here closed them",
                self.lost_connections
            );
            rows.tone("connections", text, Tone::Bad);
        }
        for notice in &self.notices {
            rows.tone("notice", notice.to_string(), Tone::Warning);
        }
        if self.notices_dropped > 0 {
            rows.tone(
                "notice",
                format!("and {} more", self.notices_dropped),
                Tone::Warning,
            );
        }
        for warning in &self.warnings {
            rows.tone("warning", warning.clone(), Tone::Warning);
        }
        for missed in &self.missed_thresholds {
            rows.tone("missed", missed.clone(), Tone::Bad);
        }
    }

    fn wrong_text(&self) -> String {
        let mut all = self.counts.wrong;
        all.add(&self.warmup.wrong);
        all.add(&self.stray);
        let parts = [
            (all.octets, "pieces with wrong octets"),
            (all.doubled_octets, "octets doubled"),
            (all.unknown, "never sent"),
            (all.ranges, "false ranges or flags"),
            (all.order, "pieces out of order"),
            (all.headers, "heads changed"),
            (all.answers, "answers not due"),
            (all.refused_although_delivered, "refused although delivered"),
        ];
        let named: Vec<String> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        match named.is_empty() {
            true => grouped(self.wrong()),
            false => format!("{}: {}", grouped(self.wrong()), named.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_which_nothing_came_prints_no_percentile() {
        let mut summary = Summary::default();
        summary.counts.sent = 5;
        summary.counts.lost = 5;
        let table = summary.table();
        assert!(
            table.contains("nothing was delivered") && !table.contains("p50"),
            "{table}"
        );
    }

    #[test]
    fn what_was_due_and_not_sent_is_said() {
        let mut summary = Summary::default();
        summary.measured.due = 1_000_000;
        summary.measured.sent = 265_000;
        summary.measured.not_sent = 735_000;
        summary.measured.achieved_percent = Some(26.5);
        let table = summary.table();
        assert!(
            table.contains("1,000,000, 265,000 sent (26.5 %), 735,000 not sent"),
            "{table}"
        );
    }
}
