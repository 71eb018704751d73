//! The header of the PROXY protocol, versions 1 and 2: which address a balancer speaks for. It
//! stands in front of everything else on a connection, TLS included.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// Of version 2, with everything that a balancer may add: a certificate fits.
const OCTETS_MAX: usize = 4096;
const LINE_START: &[u8] = b"PROXY ";
/// Of version 1, with its CRLF.
const LINE_MAX: usize = 107;

/// A header of which some octets have come.
#[derive(Debug, Default)]
pub struct ProxyHeader {
    octets: Vec<u8>,
}

/// How far it has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Octets are missing; all that were given are used up.
    NeedMore,
    /// It is complete.
    Complete {
        /// How many of the octets given last belong to it.
        taken: usize,
        /// Whom the balancer speaks for; `None`: for itself (a health check), or it does not know.
        source: Option<SocketAddr>,
    },
}

/// Octets that are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Neither version begins like this.
    NoHeader,
    /// Longer than version 1 allows, or than version 2 is read here.
    TooLong,
    /// A version 2 header of another version, or an unknown command in it.
    Version,
    /// An address that is none, or is not as long as its family's.
    Address,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY header comes first",
            Self::TooLong => "its PROXY header is too long",
            Self::Version => "its PROXY header has an unknown version or command",
            Self::Address => "its PROXY header has a wrong address",
        })
    }
}

impl ProxyHeader {
    /// Reads on.
    pub fn read(&mut self, octets: &[u8]) -> Result<Progress, Malformed> {
        let before = self.octets.len();
        // More than the longest header is never looked at.
        let room = OCTETS_MAX.saturating_sub(before).min(octets.len());
        self.octets.extend_from_slice(&octets[..room]);
        let header = match parse(&self.octets)? {
            Some(header) => header,
            None if self.octets.len() >= OCTETS_MAX => return Err(Malformed::TooLong),
            None => return Ok(Progress::NeedMore),
        };
        self.octets = Vec::new();
        Ok(Progress::Complete {
            // What came before was not complete.
            taken: header.len - before,
            source: header.source,
        })
    }
}

struct Header {
    len: usize,
    source: Option<SocketAddr>,
}

fn parse(octets: &[u8]) -> Result<Option<Header>, Malformed> {
    if is_start_of(octets, SIGNATURE) {
        binary(octets)
    } else if is_start_of(octets, LINE_START) {
        line(octets)
    } else {
        Err(Malformed::NoHeader)
    }
}

/// Whether these octets begin like that, as far as both go.
fn is_start_of(octets: &[u8], what: &[u8]) -> bool {
    octets.iter().zip(what).all(|(one, other)| one == other)
}

/// Version 2.
fn binary(octets: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some(fixed) = octets.get(..FIXED) else {
        return Ok(None);
    };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0x0f);
    if version != 2 || command > 1 {
        return Err(Malformed::Version);
    }
    let len = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if len > OCTETS_MAX {
        return Err(Malformed::TooLong);
    }
    let Some(body) = octets.get(FIXED..len) else {
        return Ok(None);
    };
    let source = match (command, fixed[13]) {
        // TCP over IPv4 and over IPv6. Others carry no address that means anything here.
        (1, 0x11) => Some(address::<4>(body)?),
        (1, 0x21) => Some(address::<16>(body)?),
        _ => None,
    };
    Ok(Some(Header { len, source }))
}

/// Source and destination, then their ports, then what we have no use for.
fn address<const N: usize>(body: &[u8]) -> Result<SocketAddr, Malformed>
where
    IpAddr: From<[u8; N]>,
{
    let source: [u8; N] = *body.first_chunk().ok_or(Malformed::Address)?;
    let ports = body.get(2 * N..2 * N + 4).ok_or(Malformed::Address)?;
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    Ok(SocketAddr::new(IpAddr::from(source).to_canonical(), port))
}

/// Version 1.
fn line(octets: &[u8]) -> Result<Option<Header>, Malformed> {
    let within = &octets[..octets.len().min(LINE_MAX)];
    let Some(lf) = memchr::memchr(b'\n', within) else {
        return match octets.len() < LINE_MAX {
            true => Ok(None),
            false => Err(Malformed::TooLong),
        };
    };
    let text = std::str::from_utf8(&octets[..lf]).map_err(|_| Malformed::Address)?;
    let text = text.strip_suffix('\r').ok_or(Malformed::Address)?;
    let mut words = text.split(' ').skip(1);
    let source = match words.next() {
        // Whatever follows it means nothing.
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let source = named(family, &words.collect::<Vec<_>>());
            Some(source.ok_or(Malformed::Address)?)
        }
        _ => return Err(Malformed::Address),
    };
    Ok(Some(Header {
        len: lf + 1,
        source,
    }))
}

fn named(family: &str, words: &[&str]) -> Option<SocketAddr> {
    let [source, destination, source_port, destination_port] = words else {
        return None;
    };
    let port = |word: &str| {
        let digits = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
        word.parse::<u16>().ok().filter(|_| digits)
    };
    let ip = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse().ok().map(IpAddr::V4),
            _ => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        }
    };
    ip(destination)?;
    port(destination_port)?;
    Some(SocketAddr::new(
        ip(source)?.to_canonical(),
        port(source_port)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut octets = SIGNATURE.to_vec();
        octets.extend([0x20 | command, family]);
        octets.extend((body.len() as u16).to_be_bytes());
        octets.extend(body);
        octets
    }

    fn v4_body() -> Vec<u8> {
        let mut body = vec![192, 0, 2, 7, 198, 51, 100, 1];
        body.extend(40_000_u16.to_be_bytes());
        body.extend(2855_u16.to_be_bytes());
        body
    }

    fn v6_body(source: &str) -> Vec<u8> {
        let source: Ipv6Addr = source.parse().unwrap();
        let mut body = source.octets().to_vec();
        body.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        body.extend(40_000_u16.to_be_bytes());
        body.extend(2855_u16.to_be_bytes());
        body
    }

    /// The header read at once and, cut at every octet, in two and octet by octet: the same.
    fn read(header: &[u8]) -> Result<Option<SocketAddr>, Malformed> {
        let after = b"\x16\x03\x01";
        let all = [header, after].concat();
        let outcome = ProxyHeader::default().read(&all);
        let expected = match outcome {
            Ok(Progress::Complete { taken, source }) => {
                assert_eq!(taken, header.len());
                Ok(source)
            }
            Ok(Progress::NeedMore) => panic!("a whole header was given"),
            Err(malformed) => Err(malformed),
        };
        for cut in 0..all.len() {
            assert_eq!(in_pieces(&all, header.len(), &[cut]), expected, "{cut}");
        }
        let everywhere: Vec<usize> = (0..all.len()).collect();
        assert_eq!(in_pieces(&all, header.len(), &everywhere), expected);
        expected
    }

    fn in_pieces(all: &[u8], len: usize, cuts: &[usize]) -> Result<Option<SocketAddr>, Malformed> {
        let mut reader = ProxyHeader::default();
        let mut begin = 0;
        for end in cuts.iter().copied().chain([all.len()]) {
            match reader.read(&all[begin..end])? {
                Progress::NeedMore => {}
                Progress::Complete { taken, source } => {
                    assert_eq!(begin + taken, len);
                    return Ok(source);
                }
            }
            begin = end;
        }
        panic!("a whole header was given");
    }

    #[test]
    fn version_2_names_an_address() {
        let source = Ok(Some("192.0.2.7:40000".parse().unwrap()));
        assert_eq!(read(&v2(1, 0x11, &v4_body())), source);
        let with_more = [&v4_body()[..], &[0x04, 0, 3, 1, 2, 3], &[0xff; 200]].concat();
        assert_eq!(read(&v2(1, 0x11, &with_more)), source);
        let source = Ok(Some("[2001:db8::7]:40000".parse().unwrap()));
        assert_eq!(read(&v2(1, 0x21, &v6_body("2001:db8::7"))), source);
        // IPv4 in the dress of IPv6 is IPv4 wherever it is counted.
        let source = Ok(Some("192.0.2.7:40000".parse().unwrap()));
        assert_eq!(read(&v2(1, 0x21, &v6_body("::ffff:192.0.2.7"))), source);
    }

    #[test]
    fn version_2_may_speak_for_nobody() {
        assert_eq!(read(&v2(0, 0x11, &v4_body())), Ok(None), "LOCAL");
        assert_eq!(read(&v2(0, 0, b"")), Ok(None), "LOCAL without a body");
        for family in [0x00, 0x01, 0x12, 0x22, 0x31, 0x32, 0xff] {
            assert_eq!(read(&v2(1, family, &v4_body())), Ok(None), "{family:#x}");
        }
    }

    #[test]
    fn version_2_is_checked() {
        let wrong = |octets: &[u8]| ProxyHeader::default().read(octets).unwrap_err();
        let mut other = v2(1, 0x11, &v4_body());
        other[12] = 0x11;
        assert_eq!(wrong(&other), Malformed::Version);
        assert_eq!(wrong(&v2(2, 0x11, &v4_body())), Malformed::Version);
        assert_eq!(wrong(&v2(1, 0x11, &v4_body()[..11])), Malformed::Address);
        assert_eq!(wrong(&v2(1, 0x21, &v4_body())), Malformed::Address);
        assert_eq!(wrong(&v2(1, 0x11, &[0; OCTETS_MAX])), Malformed::TooLong);
    }

    #[test]
    fn version_1_names_an_address() {
        for (text, source) in [
            (
                "PROXY TCP4 192.0.2.7 198.51.100.1 40000 2855\r\n",
                "192.0.2.7:40000",
            ),
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                "255.255.255.255:65535",
            ),
            (
                "PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n",
                "[2001:db8::7]:1",
            ),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", "192.0.2.7:1"),
        ] {
            let source = source.parse().unwrap();
            assert_eq!(read(text.as_bytes()), Ok(Some(source)), "{text:?}");
        }
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Ok(None));
        assert_eq!(read(b"PROXY UNKNOWN ffff::1 ? 1 2\r\n"), Ok(None));
    }

    #[test]
    fn version_1_is_checked() {
        for text in [
            "PROXY \r\n",
            "PROXY TCP5 192.0.2.7 198.51.100.1 40000 2855\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 40000 2855 \r\n",
            "PROXY TCP4 192.0.2.7  198.51.100.1 40000 2855\r\n",
            "PROXY TCP4 192.0.2.300 198.51.100.1 40000 2855\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +4000 2855\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2855\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 40000 2855\n",
            "PROXY TCP4 192.0.2.7 \u{e9} 40000 2855\r\n",
        ] {
            assert_eq!(read(text.as_bytes()), Err(Malformed::Address), "{text:?}");
        }
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_MAX));
        assert_eq!(read(long.as_bytes()), Err(Malformed::TooLong));
    }

    #[test]
    fn anything_else_is_told_by_its_first_octets() {
        let mut reader = ProxyHeader::default();
        assert_eq!(reader.read(b"P"), Ok(Progress::NeedMore));
        assert_eq!(reader.read(b"ROXX"), Err(Malformed::NoHeader));
        for octets in [
            &b"\x16\x03\x01\x02"[..],
            b"MSRP a SEND",
            b"\r\n\r\n\0\r\nQUIX",
        ] {
            assert_eq!(
                ProxyHeader::default().read(octets),
                Err(Malformed::NoHeader)
            );
        }
    }
}
