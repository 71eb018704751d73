//! What went wrong, grouped: one row for each kind, code and cause, with a count and the first example.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Rows that one thread keeps: causes are words that a relay chooses.
const ROWS_MAX: usize = 200;

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A chunk was answered with an error.
    Refused,
    /// A REPORT said that a message has failed.
    Reported,
    /// A message came whole although its sender was told that it had failed.
    Contradicted,
    WrongOctets,
    WrongRange,
    /// A SEND arrived with a head that is not what was sent.
    ChangedHead,
    /// A response came from somebody else than the first hop.
    ForeignAnswer,
    UnknownSend,
    UnknownAnswer,
    UnknownReport,
    NotForUs,
    UnaskedRequest,
    ConnectionLost,
    /// With --reconnect: a connection could not be opened again.
    CannotReconnect,
}

impl Kind {
    /// With the number of times before it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Refused => "chunks answered with an error",
            Self::Reported => "REPORTs of a failure",
            Self::Contradicted => {
                "messages arrived whole although their sender was told that they had failed"
            }
            Self::WrongOctets => "pieces of bodies with other octets than were sent",
            Self::WrongRange => "chunks with a false range or flag",
            Self::ChangedHead => "SENDs arrived with a changed head",
            Self::ForeignAnswer => "answers from another URI than the first hop",
            Self::UnknownSend => "SENDs that nobody sent",
            Self::UnknownAnswer => "answers to nothing",
            Self::UnknownReport => "REPORTs about nothing",
            Self::NotForUs => "messages to another URI",
            Self::UnaskedRequest => "requests that a client does not expect",
            Self::ConnectionLost => "connections lost",
            Self::CannotReconnect => "attempts to connect again failed",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub kind: Kind,
    pub code: Option<u16>,
    /// In the relay's words, or the system's.
    pub cause: String,
    pub count: u64,
    /// Of the first one.
    pub session: Option<u32>,
    pub example: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.count, self.kind.text())?;
        if let Some(code) = self.code {
            write!(f, ": {code}")?;
        }
        if !self.cause.is_empty() {
            let sign = if self.code.is_some() { " " } else { ": " };
            write!(f, "{sign}{}", self.cause)?;
        }
        if let Some(session) = self.session {
            write!(f, "; first in session {session}")?;
        }
        if !self.example.is_empty() {
            write!(f, ": {}", self.example)?;
        }
        Ok(())
    }
}

type Key = (Kind, Option<u16>, Cow<'static, str>);

/// The rows of one thread.
#[derive(Debug, Default)]
pub struct Notices {
    rows: BTreeMap<Key, Notice>,
    /// Events that found no row.
    pub dropped: u64,
}

impl Notices {
    /// Counts an event; the example is made for the first of its row only.
    pub fn note(
        &mut self,
        kind: Kind,
        code: Option<u16>,
        cause: impl Into<Cow<'static, str>>,
        session: Option<u32>,
        example: impl FnOnce() -> String,
    ) {
        let key = (kind, code, cause.into());
        if let Some(row) = self.rows.get_mut(&key) {
            row.count += 1;
            return;
        }
        if self.rows.len() >= ROWS_MAX {
            self.dropped += 1;
            return;
        }
        let row = Notice {
            kind,
            code,
            cause: key.2.clone().into_owned(),
            count: 1,
            session,
            example: example(),
        };
        self.rows.insert(key, row);
    }

    pub fn merge(&mut self, other: Self) {
        self.dropped += other.dropped;
        for (key, row) in other.rows {
            match self.rows.get_mut(&key) {
                Some(ours) => ours.count += row.count,
                None => {
                    self.rows.insert(key, row);
                }
            }
        }
    }

    /// The most frequent first.
    pub fn into_rows(self) -> Vec<Notice> {
        let mut rows: Vec<Notice> = self.rows.into_values().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_kind_code_and_cause_are_one_row() {
        let mut one = Notices::default();
        for session in [7, 8] {
            one.note(Kind::Refused, Some(481), "gone", Some(session), || {
                format!("head {session}")
            });
        }
        let mut two = Notices::default();
        two.note(
            Kind::Refused,
            Some(481),
            "gone".to_owned(),
            Some(1),
            String::new,
        );
        two.note(Kind::Refused, Some(413), "", Some(1), String::new);
        one.merge(two);
        let rows = one.into_rows();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            rows[0].to_string(),
            "3 chunks answered with an error: 481 gone; first in session 7: head 7"
        );
        assert_eq!(
            rows[1].to_string(),
            "1 chunks answered with an error: 413; first in session 1"
        );
    }

    #[test]
    fn rows_are_bounded() {
        let mut notices = Notices::default();
        for number in 0..ROWS_MAX + 5 {
            notices.note(
                Kind::ConnectionLost,
                None,
                format!("cause {number}"),
                None,
                String::new,
            );
        }
        assert_eq!(notices.dropped, 5);
        assert_eq!(notices.into_rows().len(), ROWS_MAX);
    }
}
