//! The arithmetic of RFC 2617 §3.2.2 and RFC 7616 §3.4 with qop=auth.

use md5::Md5;
use sha2::{Digest, Sha256};

use super::hex;

/// A hash that may be offered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Algorithm {
    /// What every client knows; absent `algorithm` means it.
    Md5,
    /// RFC 7616
    Sha256,
}

impl Algorithm {
    /// In the order of challenges: strongest first, MD5 last (RFC 8760 §2.3, D-17).
    pub(super) const STRONGEST_FIRST: [Self; 2] = [Self::Sha256, Self::Md5];

    /// As it stands in headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// By its name in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::STRONGEST_FIRST
            .into_iter()
            .find(|algorithm| algorithm.name().eq_ignore_ascii_case(name))
    }

    /// H() over the parts joined by `:`, as hex digits.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        let joined = parts.join(&b':');
        match self {
            Self::Md5 => hex(&Md5::digest(&joined)),
            Self::Sha256 => hex(&Sha256::digest(&joined)),
        }
    }
}

/// H(H(A1):nonce:nc:cnonce:auth:H(method:uri)); an empty method gives `rspauth`.
pub fn response(
    algorithm: Algorithm,
    ha1: &str,
    nonce: &str,
    nc: &str,
    cnonce: &str,
    method: &[u8],
    uri: &[u8],
) -> String {
    let ha2 = algorithm.hash(&[method, uri]);
    algorithm.hash(&[
        ha1.as_bytes(),
        nonce.as_bytes(),
        nc.as_bytes(),
        cnonce.as_bytes(),
        b"auth",
        ha2.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::Ha1;
    use super::*;

    /// One block "Arithmetic" of the wire examples: user, realm and password, H(A1); nonce, nc,
    /// cnonce, URI; response and rspauth.
    struct Vector {
        algorithm: Algorithm,
        who: [&'static str; 3],
        ha1: &'static str,
        asked: [&'static str; 4],
        response: &'static str,
        rspauth: &'static str,
    }

    const ALICE: [&str; 3] = ["alice", "example.com", "wonderland"];
    const ALICE_MD5: &str = "93dfce8dfebfae8af4a726982429d23a";
    const RELAY: &str = "msrps://relay.example.com;tcp";
    const DOMAIN: &str = "msrps://alice@example.com:2855;tcp";

    #[rustfmt::skip]
    const VECTORS: [Vector; 7] = [
        // W-01
        Vector {
            algorithm: Algorithm::Md5,
            who: ALICE,
            ha1: ALICE_MD5,
            asked: ["Z2uLuEznJn3VIN7KSBHI8QpT5jY1LwaY", "00000001", "f2a9c4d18b7e0356", RELAY],
            response: "680521922c7de0b6b0cf6bae1513552f",
            rspauth: "2d8f3f63ca64f1a6f8284e900f3fc92a",
        },
        // W-02
        Vector {
            algorithm: Algorithm::Sha256,
            who: ALICE,
            ha1: "8a76b8adf2eb7492ff78f57bc361a5c93e2f53c6e93f7ee91f68b5382cfea14f",
            asked: ["hyHWZO9gCWqlWeGqbHLK8frPXOCLA6pp", "00000001", "3d5b7f9100c2e4a6", DOMAIN],
            response: "6ff8d857eb97d34448bd481c106a8f03a20062a71e756b0069d16a22ab3c83e9",
            rspauth: "66de1ee12fb6eae82d412aadf7981d002ca898eeffe20eb51f44d003901c9d1f",
        },
        // W-02, the client that knows only MD5
        Vector {
            algorithm: Algorithm::Md5,
            who: ALICE,
            ha1: ALICE_MD5,
            asked: ["hyHWZO9gCWqlWeGqbHLK8frPXOCLA6pp", "00000001", "85a0dca8b1", DOMAIN],
            response: "6455089fe9a7c552431b08cd46812ac9",
            rspauth: "9c9e12b62b290a6ac8566a3efed85aa9",
        },
        // W-03
        Vector {
            algorithm: Algorithm::Md5,
            who: ALICE,
            ha1: ALICE_MD5,
            asked: ["BICpPS6bCUuJ4I4Bl2CJrBgZOvgCxmtj", "00000001", "77aa01fe42c9d3b8", RELAY],
            response: "a6cd7bf96ded207a15c5e8d2ca045717",
            rspauth: "21de6148133a612de60108208e6313ae",
        },
        // W-04
        Vector {
            algorithm: Algorithm::Md5,
            who: ["alice", "outer.example.net", "looking-glass"],
            ha1: "4dbe4a66d3d7ec148622134c9e9a1c0a",
            asked: [
                "b166Ixm9dYRxH8IcLrXUu4YzJ7t6Wux+", "00000001", "0e6f1d2c3b4a5968",
                "msrps://outer.example.net;tcp",
            ],
            response: "5ac75e91d0f13ca905e94b6d7a0b2d7d",
            rspauth: "0874898f36cd38a849e6e4150db32352",
        },
        // W-14
        Vector {
            algorithm: Algorithm::Md5,
            who: ALICE,
            ha1: ALICE_MD5,
            asked: ["zl379JDvsMUTLavvM3cwC586IWu1sGT/", "00000001", "aa55c3300f77e1d2", RELAY],
            response: "34dfd9dddb11554eb4790d5fb2a5df57",
            rspauth: "d51cd0205d9ca3528bf7fb4660e837b9",
        },
        // W-14, the nonce used again
        Vector {
            algorithm: Algorithm::Md5,
            who: ALICE,
            ha1: ALICE_MD5,
            asked: ["zl379JDvsMUTLavvM3cwC586IWu1sGT/", "00000002", "aa55c3300f77e1d2", RELAY],
            response: "e8c5e3bdad20555d14b56c889a627251",
            rspauth: "27b486ab31d0648f1a44b89aabbdcea6",
        },
    ];

    #[test]
    fn aut_08_aut_15_the_arithmetic_of_the_wire_examples() {
        for vector in VECTORS {
            let [user, realm, password] = vector.who;
            let ha1 = Ha1::of(vector.algorithm, user, realm, password);
            assert_eq!(ha1.text(), vector.ha1);
            let [nonce, nc, cnonce, uri] = vector.asked;
            let of = |method: &[u8]| {
                response(
                    vector.algorithm,
                    ha1.text(),
                    nonce,
                    nc,
                    cnonce,
                    method,
                    uri.as_bytes(),
                )
            };
            assert_eq!(of(b"AUTH"), vector.response);
            assert_eq!(of(b""), vector.rspauth);
        }
    }

    #[test]
    fn names_are_read_in_any_case() {
        for algorithm in Algorithm::STRONGEST_FIRST {
            let name = algorithm.name();
            assert_eq!(Algorithm::from_name(name), Some(algorithm));
            assert_eq!(Algorithm::from_name(&name.to_lowercase()), Some(algorithm));
            assert_eq!(Algorithm::from_name(&format!("{name}-sess")), None);
        }
    }
}
