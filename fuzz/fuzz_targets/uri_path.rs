//! Any text as a path: URIs parse or say why not, comparison (RFC 4975 §6.1) is an equivalence that agrees with the
//! canonical authority, and what the canonical form shows parses again to the same. Also Byte-Range and Status.
#![no_main]

use libfuzzer_sys::fuzz_target;
use msrpd::wire::{ByteRange, Host, Path, Status, Uri};

fuzz_target!(|text: &[u8]| {
    check_path(text);
    if let Some(range) = ByteRange::parse(text) {
        let mut out = Vec::new();
        range.encode(&mut out);
        assert_eq!(ByteRange::parse(&out), Some(range));
    }
    let _ = Status::parse(text);

    let uris: Vec<Uri<'_>> = Path::new(text)
        .uris()
        .take(8)
        .filter_map(|uri| Uri::parse(uri).ok())
        .collect();
    for one in &uris {
        assert!(one.equivalent(one));
        check_canonical(one);
        for other in &uris {
            let equivalent = one.equivalent(other);
            assert_eq!(equivalent, other.equivalent(one));
            assert_eq!(
                equivalent,
                one.authority() == other.authority() && one.session_id() == other.session_id()
            );
        }
    }
});

fn check_path(text: &[u8]) {
    let path = Path::new(text);
    assert_eq!(path.is_empty(), path.len() == 0);
    assert_eq!(path.first(), path.uris().next());
    assert_eq!(path.last(), path.uris().last());
    for hops in 0..4 {
        let (front, back) = path.split(hops);
        assert_eq!(front.len() + back.len(), path.len());
    }
}

fn check_canonical(uri: &Uri<'_>) {
    let authority = uri.authority();
    let shown = authority.to_string();
    let again = Uri::parse(shown.as_bytes()).expect("a canonical authority is a URI");
    assert_eq!(again.authority(), authority, "{shown}");
    assert_eq!(Host::from_text(&authority.host.to_string()), authority.host);
    // What a text says in its parts stands in it.
    assert!(contains(uri.text(), uri.host()));
    assert!(contains(uri.text(), uri.transport()));
    assert!(uri.session_id().is_none_or(|id| contains(uri.text(), id)));
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
