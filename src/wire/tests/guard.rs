//! The outgoing end-line stays out of bodies (SYN-16, SEC-08).

use super::*;

fn tid() -> TransactId {
    TransactId::from_random(*b"thirteen bits")
}

fn collision(body: &[u8]) -> Option<usize> {
    EndLineGuard::new().first_collision(&tid(), body)
}

/// SYN-16
#[test]
fn a_body_that_holds_the_end_line_is_cut_before_it_is_whole() {
    let tid = tid();
    for flag in *b"$+#x" {
        let line = [b"-------", tid.as_bytes(), &[flag], b"\r\n"].concat();
        for before in [
            &b""[..],
            b"\r\n",
            b"abc",
            b"-",
            b"\r\n--------",
            b"-------a",
        ] {
            let body = [before, &line, b"after"].concat();
            let cut = collision(&body).unwrap();
            assert_eq!(cut, before.len() + 26);
        }
    }
}

/// SYN-16
#[test]
fn the_end_line_is_seen_over_any_borders() {
    let tid = tid();
    let line = [b"ab--\r\n----------", tid.as_bytes(), b"$\r\n"].concat();
    let whole = collision(&line).unwrap();
    for first in 0..line.len() {
        for second in first..line.len() {
            let mut guard = EndLineGuard::new();
            let mut at = 0;
            let mut found = None;
            for piece in [&line[..first], &line[first..second], &line[second..]] {
                if let Some(offset) = guard.first_collision(&tid, piece) {
                    found = Some(at + offset);
                    break;
                }
                at += piece.len();
            }
            assert_eq!(found, Some(whole), "borders at {first} and {second}");
        }
    }
}

/// SEC-08
#[test]
fn other_bodies_pass() {
    let tid = tid();
    let other = TransactId::from_random([9; 13]);
    let mut short = tid.as_bytes().to_vec();
    short.pop();
    let bodies = [
        vec![],
        vec![b'-'; 1 << 20],
        [b"\r\n-------", other.as_bytes(), b"$\r\n"].concat(),
        [b"\r\n------", tid.as_bytes(), b"$\r\n"].concat(),
        [b"\r\n-------", &short[..], b"-$\r\n"].concat(),
        [b"\r\n-------", &short[..]].concat().repeat(10_000),
        tid.as_bytes().repeat(1000),
    ];
    for body in bodies {
        assert_eq!(collision(&body), None);
        let mut guard = EndLineGuard::new();
        for piece in body.chunks(13) {
            assert_eq!(guard.first_collision(&tid, piece), None);
        }
    }
}
