//! What spoils the figures of a run, in words.

use crate::plan::Plan;
use crate::summary::Summary;
use crate::summary::text::{grouped, micros};

/// Per cent of what was due below which an open loop did not do what it was asked.
const ACHIEVED_MIN: f64 = 99.0;

pub fn warnings(plan: &Plan, summary: &Summary) -> Vec<String> {
    let (own, measured) = (&summary.own, &summary.measured);
    let mut out = Vec::new();
    if let Some(achieved) = measured
        .achieved_percent
        .filter(|percent| *percent < ACHIEVED_MIN)
    {
        let mut text = format!(
            "only {achieved:.1} % of the {} messages that were due were sent",
            grouped(measured.due)
        );
        if measured.not_sent > 0 {
            text += &format!(
                "; for {} their connections took no more: the relay does not keep up with this rate",
                grouped(measured.not_sent)
            );
        }
        if measured.not_sent_own > 0 {
            text += &format!(
                "; {} this program did not get to: give it more cores (--cpu 1,2)",
                grouped(measured.not_sent_own)
            );
        }
        out.push(text);
    }
    if own.stalls > 0 {
        out.push(format!(
            "this program itself stood still {}, for {:.2} s in all and {:.2} s at most: it was stopped or had no core. \
             Latencies are counted less that time, which is not the relay's",
            match own.stalls {
                1 => "once".to_owned(),
                times => format!("{times} times"),
            },
            own.stalled_seconds,
            own.stall_seconds_max
        ));
    }
    if own.busiest_thread_share > 0.9 {
        out.push(format!(
            "this program was saturated ({:.0} % of a core in its busiest thread): rate and latency may be its own; give it more cores (--cpu 1,2)",
            own.busiest_thread_share * 100.0
        ));
    }
    if own.waited_share > 0.05 {
        out.push(format!(
            "for {:.0} % of the time something else had our core: latencies are too long; use --cpu, and keep that core free",
            own.waited_share * 100.0
        ));
    }
    if let (Some(late), Some(delivery)) = (own.lateness_us.p99, measured.delivery_us.p99)
        && late > 500.0
        && late > 0.2 * delivery
    {
        out.push(format!(
            "we were late for what was due (p99 {}): part of the latency is ours",
            micros(late)
        ));
    }
    if let Some(films) = summary.films.as_ref().filter(|films| films.octets == 0) {
        out.push(format!(
            "no octet of a film arrived in the measured stretch ({} were sent): the chats were alone; make it --film-size larger or leave --film-count out",
            films.counts.sent
        ));
    }
    if let Some(r) = summary
        .reconnect
        .filter(|r| r.sessions_back < r.sessions_broken)
    {
        out.push(format!(
            "{} sessions that lost a connection were not back at the end",
            r.sessions_broken - r.sessions_back
        ));
    }
    if plan.groups.iter().any(|group| group.success_report)
        && summary.success_reports == 0
        && summary.counts.delivered > 0
    {
        out.push("success reports were asked for and made, and none came through".into());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Latency;

    fn warned(change: impl Fn(&mut Summary)) -> String {
        let mut summary = Summary::default();
        summary.measured.delivery_us = Latency {
            p99: Some(1_000.0),
            ..Latency::default()
        };
        change(&mut summary);
        let plan = crate::plan::Plan::idle_for_tests();
        warnings(&plan, &summary).join("\n")
    }

    #[test]
    fn saturation_is_judged_by_our_own_cores_alone() {
        assert_eq!(warned(|_| {}), "");
        let saturated = warned(|s| {
            s.own.busiest_thread_share = 0.95;
            s.own.cpu_share = 0.95;
            s.own.threads = 4;
            // That the relay is busy as well changes nothing about it.
            s.relay = Some(crate::summary::Relay {
                cpu_share: 1.0,
                ..Default::default()
            });
        });
        assert!(saturated.contains("saturated (95 %"), "{saturated}");
    }

    #[test]
    fn what_was_not_sent_is_laid_to_whom_it_belongs() {
        let relay = warned(|s| {
            s.measured.achieved_percent = Some(50.0);
            (s.measured.due, s.measured.not_sent) = (10, 5);
        });
        assert!(
            relay.contains("the relay does not keep up") && !relay.contains("more cores"),
            "{relay}"
        );
        let own = warned(|s| {
            s.measured.achieved_percent = Some(50.0);
            (s.measured.due, s.measured.not_sent_own) = (10, 5);
        });
        assert!(
            own.contains("more cores") && !own.contains("keep up"),
            "{own}"
        );
        assert_eq!(warned(|s| s.measured.achieved_percent = Some(99.0)), "");
    }
}
