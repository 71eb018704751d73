//! The Authorization header: tolerant where deployed clients need it (D-17), strict in what is
//! required (AUT-10).

/// Digest credentials. Quoted and bare values are taken alike, unknown parameters ignored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authorization {
    pub username: String,
    pub realm: String,
    pub nonce: String,
    pub response: String,
    pub cnonce: String,
    /// Eight hex digits.
    pub nc: String,
    pub algorithm: Option<String>,
    pub uri: Option<String>,
}

impl Authorization {
    /// `Ok(None)`: another scheme than Digest. `Err`: something required is missing, doubled
    /// or ill-formed.
    pub fn parse(value: &[u8]) -> Result<Option<Self>, ()> {
        let text = std::str::from_utf8(value).map_err(|_| ())?.trim();
        let (scheme, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Ok(None);
        }
        let mut found: [Option<String>; NAMES.len()] = Default::default();
        let mut rest = rest.trim_start();
        while !rest.is_empty() {
            let (name, value, after) = parameter(rest)?;
            if let Some(index) = NAMES
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name))
                && found[index].replace(value).is_some()
            {
                return Err(());
            }
            rest = after;
        }
        let [
            username,
            realm,
            nonce,
            response,
            cnonce,
            nc,
            qop,
            algorithm,
            uri,
        ] = found;
        let legal = |value: Option<String>| {
            value
                .filter(|value| !value.is_empty() && !value.contains('"'))
                .ok_or(())
        };
        let credentials = Self {
            username: username.ok_or(())?,
            realm: realm.ok_or(())?,
            nonce: legal(nonce)?,
            response: legal(response)?,
            cnonce: legal(cnonce)?,
            nc: legal(nc)?,
            algorithm,
            uri,
        };
        let is_hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_hexdigit());
        let well_formed = qop.is_some_and(|qop| qop.eq_ignore_ascii_case("auth"))
            && credentials.nc.len() == 8
            && is_hex(&credentials.nc)
            && is_hex(&credentials.response)
            && !credentials.username.is_empty();
        if well_formed {
            Ok(Some(credentials))
        } else {
            Err(())
        }
    }
}

const NAMES: [&str; 9] = [
    "username",
    "realm",
    "nonce",
    "response",
    "cnonce",
    "nc",
    "qop",
    "algorithm",
    "uri",
];

/// One `name=value` and what follows its comma.
fn parameter(text: &str) -> Result<(&str, String, &str), ()> {
    let (name, rest) = text.split_once('=').ok_or(())?;
    let name = name.trim();
    if name.is_empty()
        || !name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_*.".contains(&octet))
    {
        return Err(());
    }
    let rest = rest.trim_start();
    let (value, rest) = match rest.strip_prefix('"') {
        Some(quoted) => unquote(quoted)?,
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            let value = rest[..end].trim_end();
            if value.contains(['"', ' ', '\t']) {
                return Err(());
            }
            (value.to_owned(), &rest[end..])
        }
    };
    let rest = rest.trim_start();
    match rest.strip_prefix(',') {
        Some(after) => Ok((name, value, after.trim_start())),
        None if rest.is_empty() => Ok((name, value, "")),
        None => Err(()),
    }
}

/// The value up to the closing quote, escapes undone, and what follows.
fn unquote(text: &str) -> Result<(String, &str), ()> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[index + 1..])),
            '\\' => value.push(characters.next().ok_or(())?.1),
            other => value.push(other),
        }
    }
    Err(())
}
