//! Notices of the machine in the log. Each kind has a line of its own in the program, so that `log.repeats` bounds them one
//! by one and a flood of one kind hides no other.

use crate::relay::{Notice, NoticeKind};

/// Writes one line.
pub(super) fn write(notice: &Notice) {
    let remote = notice.remote.map(tracing::field::display);
    let more = (notice.more > 0).then(|| format!("{} more like this", notice.more));
    let Notice { came, expected, .. } = notice;
    // What came and what was expected are escaped by whoever made them.
    macro_rules! line {
        ($words:literal) => {
            tracing::info!(remote, %came, %expected, more, $words)
        };
    }
    match notice.kind {
        NoticeKind::AuthTarget => line!("AUTH to a name that is not this relay's"),
        NoticeKind::NotOurs => line!("request to somebody else than this relay"),
        NoticeKind::PlainAuth => line!("AUTH without TLS"),
        NoticeKind::Realm => line!("AUTH for an unknown realm"),
        NoticeKind::Challenges => line!("AUTH in a loop of 401s"),
        NoticeKind::Token(_) => line!("token refused"),
        NoticeKind::Malformed => line!("malformed request"),
        NoticeKind::Framing => line!("framing lost"),
    }
}
