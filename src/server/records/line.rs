//! One record as a line of JSON: the schema of docs/records.md.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::metrics::Traffic;
use crate::relay::{EndCause, SessionRecord};

/// Of the schema. Fields may come without it changing, none goes or gets another meaning.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    host: &'a str,
    start: String,
    end: String,
    seconds: f64,
    user: &'a str,
    realm: &'a str,
    peer: Option<String>,
    relay: Option<&'a str>,
    cause: &'static str,
    connection: Option<&'static str>,
    sent: Sums,
    received: Sums,
}

#[derive(Serialize)]
struct Sums {
    octets: u64,
    chunks: u64,
    messages: u64,
    reports: u64,
    failed: u64,
}

impl From<Traffic> for Sums {
    fn from(traffic: Traffic) -> Self {
        Sums {
            octets: traffic.octets,
            chunks: traffic.chunks,
            messages: traffic.messages,
            reports: traffic.reports,
            failed: traffic.failed,
        }
    }
}

/// Relates the shards' clock to the one on the wall.
#[derive(Clone, Copy)]
pub struct Clocks {
    pub instant: Instant,
    pub wall: SystemTime,
}

impl Clocks {
    pub fn now() -> Self {
        Clocks {
            instant: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn wall(&self, instant: Instant) -> SystemTime {
        let ago = self.instant.saturating_duration_since(instant);
        self.wall.checked_sub(ago).unwrap_or(UNIX_EPOCH)
    }
}

/// Appends the record's line.
pub fn append(record: &SessionRecord, host: &str, clocks: Clocks, lines: &mut Vec<u8>) {
    let (cause, connection) = cause(record.cause);
    let lasted = record.ended.saturating_duration_since(record.began);
    let line = Line {
        version: VERSION,
        host,
        start: rfc3339(clocks.wall(record.began)),
        end: rfc3339(clocks.wall(record.ended)),
        seconds: lasted.as_millis() as f64 / 1000.0,
        user: &record.user,
        realm: &record.realm,
        peer: record.peer.map(peer),
        relay: record.relay.as_deref(),
        cause,
        connection,
        sent: record.sent.into(),
        received: record.received.into(),
    };
    serde_json::to_writer(&mut *lines, &line).expect("plain values, into memory");
    lines.push(b'\n');
}

fn cause(cause: EndCause) -> (&'static str, Option<&'static str>) {
    match cause {
        EndCause::Expired => ("expired", None),
        EndCause::Closed(reason) => ("closed", Some(reason.text())),
        EndCause::Drained => ("drained", None),
        EndCause::Revoked => ("revoked", None),
    }
}

/// A socket for both families shows IPv4 addresses in the dress of IPv6.
fn peer(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}

/// UTC, to the millisecond (RFC 3339).
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_millis()
    )
}

/// The date so many days after 1970-01-01, in years that begin in March: then the leap day is the last.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    // From 0000-03-01.
    let days = days + 719_468;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::CloseReason;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_767_225_599, "2025-12-31T23:59:59.000Z"),
            (1_767_225_600, "2026-01-01T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(rfc3339(time), text);
        }
        let time = UNIX_EPOCH + Duration::from_millis(1_767_225_600_042);
        assert_eq!(rfc3339(time), "2026-01-01T00:00:00.042Z");
    }

    #[test]
    fn a_record_is_one_line_whatever_the_user_is_called() {
        let instant = Instant::now();
        let traffic = |octets| Traffic {
            octets,
            chunks: 2,
            messages: 1,
            reports: 3,
            failed: 1,
        };
        let record = SessionRecord {
            began: instant,
            ended: instant + Duration::from_millis(1500),
            user: Arc::from("al\"ice\n\u{2028}\u{7f}"),
            realm: Arc::from("example.com"),
            peer: Some("[::ffff:192.0.2.7]:5000".parse().expect("an address")),
            relay: None,
            cause: EndCause::Closed(CloseReason::EndOfStream),
            sent: traffic(u64::MAX),
            received: traffic(0),
        };
        let clocks = Clocks {
            instant: instant + Duration::from_secs(10),
            wall: UNIX_EPOCH + Duration::from_secs(1_767_225_610),
        };
        let mut lines = Vec::new();
        append(&record, "relay.example.com", clocks, &mut lines);
        append(&record, "relay.example.com", clocks, &mut lines);
        let text = String::from_utf8(lines).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 2);
        let line: serde_json::Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        let sums = |octets: u64| serde_json::json!({"octets": octets, "chunks": 2, "messages": 1, "reports": 3, "failed": 1});
        let expected = serde_json::json!({
            "version": 1,
            "host": "relay.example.com",
            "start": "2026-01-01T00:00:00.000Z",
            "end": "2026-01-01T00:00:01.500Z",
            "seconds": 1.5,
            "user": "al\"ice\n\u{2028}\u{7f}",
            "realm": "example.com",
            "peer": "192.0.2.7:5000",
            "relay": null,
            "cause": "closed",
            "connection": "end_of_stream",
            "sent": sums(u64::MAX),
            "received": sums(0),
        });
        assert_eq!(line, expected);
    }
}
