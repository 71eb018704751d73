//! An octet that chooses the cuts, then octets of a connection from a balancer: the PROXY header ends at the same place and
//! names the same client however it is cut, what is behind it is left alone, and no IPv4 address wears the dress of IPv6.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use msrpd::net::proxy_header::{Malformed, Progress, ProxyHeader};

/// The longest header that is read.
const OCTETS_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((cut, octets)) = input.split_first() else {
        return;
    };
    let whole = read(octets, octets.len().max(1));
    let cut = usize::from(*cut).max(1);
    assert_eq!(read(octets, cut), whole);
    let Ok(Some((length, source))) = whole else {
        return;
    };
    assert!(length <= octets.len().min(OCTETS_MAX));
    if let Some(source) = source {
        assert_eq!(source.ip(), source.ip().to_canonical());
    }
    // Nothing behind it matters, and nothing less is enough.
    assert_eq!(read(&octets[..length], length), whole);
    assert_eq!(read(&octets[..length - 1], length), Ok(None));
});

/// Where the header ends and whom it names, read in pieces; `None`: more is to come.
fn read(octets: &[u8], cut: usize) -> Result<Option<(usize, Option<SocketAddr>)>, Malformed> {
    let mut header = ProxyHeader::default();
    let mut before = 0;
    for piece in octets.chunks(cut) {
        match header.read(piece)? {
            Progress::NeedMore => before += piece.len(),
            Progress::Complete { taken, source } => return Ok(Some((before + taken, source))),
        }
    }
    Ok(None)
}
