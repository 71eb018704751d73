//! Certificates built octet by octet: what no authority would issue and no library would make.

#![allow(dead_code, reason = "each test takes what it needs")]

/// An element: tag, length, content.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        short @ 0..=0x7f => der.push(short as u8),
        long => {
            let octets: Vec<u8> = long
                .to_be_bytes()
                .into_iter()
                .skip_while(|octet| *octet == 0)
                .collect();
            der.push(0x80 | octets.len() as u8);
            der.extend(octets);
        }
    }
    der.extend_from_slice(content);
    der
}

pub fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    element(0x30, &elements.concat())
}

/// An identifier by its encoded arcs.
pub fn oid(arcs: &[u8]) -> Vec<u8> {
    element(0x06, arcs)
}

/// A name of one commonName.
pub fn name(common: &str) -> Vec<u8> {
    let attribute = sequence(&[oid(&[0x55, 4, 3]), element(0x0c, common.as_bytes())]);
    sequence(&[element(0x31, &attribute)])
}

/// An INTEGER that is not negative.
fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let mut content = vec![0; usize::from(big_endian.first().is_none_or(|first| *first >= 0x80))];
    content.extend_from_slice(big_endian);
    element(0x02, &content)
}

fn bits(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], content].concat())
}

/// An extension by its encoded identifier.
pub fn extension(arcs: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![oid(arcs)];
    if critical {
        parts.push(element(0x01, &[0xff]));
    }
    parts.push(element(0x04, value));
    sequence(&parts)
}

/// subjectAltName with these dNSNames.
pub fn dns_names(names: &[&str]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names
        .iter()
        .map(|name| element(0x82, name.as_bytes()))
        .collect();
    extension(&[0x55, 0x1d, 17], false, &sequence(&names))
}

/// basicConstraints of an authority.
pub fn authority() -> Vec<u8> {
    extension(
        &[0x55, 0x1d, 19],
        true,
        &sequence(&[element(0x01, &[0xff])]),
    )
}

/// An RSA key of so many bits that nobody knows the primes of.
pub fn rsa_key(bits_in_modulus: usize, exponent: &[u8]) -> Vec<u8> {
    let mut modulus = vec![0xb5; bits_in_modulus / 8];
    modulus[0] = 0xc1;
    let key = sequence(&[unsigned(&modulus), unsigned(exponent)]);
    let algorithm = sequence(&[
        oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]),
        element(5, &[]),
    ]);
    sequence(&[algorithm, bits(&key)])
}

/// A point of an elliptic curve, given by the curve's encoded identifier, as a public key.
pub fn curve_key(curve: &[u8], point: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]), oid(curve)]);
    sequence(&[algorithm, bits(point)])
}

pub const P521: &[u8] = &[0x2b, 0x81, 0x04, 0, 35];
pub const SECP256K1: &[u8] = &[0x2b, 0x81, 0x04, 0, 10];

/// ecdsa-with-SHA256
pub const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// What stands in a certificate besides its signature.
#[derive(Clone)]
pub struct Template {
    /// X.509 v3 unless it is `false`: v1, which has no extensions.
    pub v3: bool,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    /// A subjectPublicKeyInfo.
    pub key: Vec<u8>,
    pub extensions: Vec<Vec<u8>>,
    pub not_after: &'static str,
    /// Distinguishes certificates that are the same otherwise.
    pub serial: u32,
}

impl Template {
    pub fn new(issuer: &str, subject: &str, key: Vec<u8>) -> Self {
        Self {
            v3: true,
            issuer: name(issuer),
            subject: name(subject),
            key,
            extensions: Vec::new(),
            not_after: "20490101000000Z",
            serial: 1,
        }
    }

    /// The certificate with the signature that `sign` makes of its content; ECDSA with SHA-256 by name.
    pub fn signed(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let algorithm = sequence(&[oid(ECDSA_SHA256)]);
        let mut parts = Vec::new();
        if self.v3 {
            parts.push(element(0xa0, &element(0x02, &[2])));
        }
        parts.extend([
            unsigned(&self.serial.to_be_bytes()),
            algorithm.clone(),
            self.issuer.clone(),
            sequence(&[
                element(0x18, b"20200101000000Z"),
                element(0x18, self.not_after.as_bytes()),
            ]),
            self.subject.clone(),
            self.key.clone(),
        ]);
        if self.v3 && !self.extensions.is_empty() {
            parts.push(element(0xa3, &sequence(&self.extensions)));
        }
        let content = sequence(&parts);
        let signature = sign(&content);
        sequence(&[content, algorithm, bits(&signature)])
    }

    /// Signed by nobody.
    pub fn junk(&self) -> Vec<u8> {
        self.signed(|_| sequence(&[unsigned(&[7; 32]), unsigned(&[9; 32])]))
    }
}
