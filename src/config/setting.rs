//! How one value of the file is read into its type, and written back.
//!
//! A type that can stand in the file implements [`Setting`] (or [`TextSetting`], if it is written as a string). Whatever
//! it accepts, [`Setting::show`] writes so that it is accepted again: `msrpd config` relies on it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::problem::{Place, Problems};
use super::units::{format_duration, parse_duration};

/// Where reading stands: the text for places, and what was found so far.
pub struct Reading<'r> {
    pub text: &'r str,
    /// Relative paths are relative to this folder, the file's own.
    pub folder: &'r Path,
    /// Where all of the text stands if it is no file: the variable that holds it.
    pub origin: Option<Place>,
    /// Full name of the key that is being read, such as `tls.certificate`.
    pub key: String,
    pub problems: &'r mut Problems,
}

impl Reading<'_> {
    pub fn place(&self, span: Range<usize>) -> Place {
        self.origin
            .unwrap_or_else(|| Place::of(self.text, span.start))
    }

    /// Notes a mistake in the value of the key that is being read.
    pub fn fail(&mut self, span: Range<usize>, what: &str, help: &str) {
        let place = self.place(span);
        self.problems
            .error(Some(place), format!("{}: {what}", self.key), help);
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::Table(_) => "a table",
            DeValue::Array(_) => "a list",
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
        };
        self.fail(
            value.span(),
            &format!("found {found}"),
            &format!("write {expected}"),
        );
    }
}

/// A value that can stand in the file.
pub trait Setting: Sized {
    /// What the operator is to write: completes "write ...".
    const EXPECTED: &'static str;
    /// Whether a variable of the environment may hold it without quotes.
    const BARE: bool = false;
    /// `None`: it was wrong, and the problem is noted.
    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self>;
    /// As TOML; `None` where nothing is set.
    fn show(&self) -> Option<String>;
}

/// A value that is written as a string.
pub trait TextSetting: Sized {
    const EXPECTED: &'static str;
    fn parse(text: &str) -> Result<Self, String>;
    fn text(&self) -> String;
}

impl<T: TextSetting> Setting for T {
    const EXPECTED: &'static str = <T as TextSetting>::EXPECTED;
    const BARE: bool = true;

    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            at.wrong_type(value, <T as TextSetting>::EXPECTED);
            return None;
        };
        match T::parse(text) {
            Ok(setting) => Some(setting),
            Err(what) => {
                at.fail(
                    value.span(),
                    &what,
                    &format!("write {}", <T as TextSetting>::EXPECTED),
                );
                None
            }
        }
    }

    fn show(&self) -> Option<String> {
        Some(quoted(&self.text()))
    }
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl TextSetting for Duration {
    const EXPECTED: &'static str = "a number with its unit (ms, s, m, h, d), such as \"30s\"";
    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text)
    }
    fn text(&self) -> String {
        format_duration(*self)
    }
}

impl TextSetting for String {
    const EXPECTED: &'static str = "a string in quotes";
    fn parse(text: &str) -> Result<Self, String> {
        match text.chars().any(char::is_control) {
            true => Err("a control character does not belong here".into()),
            false => Ok(text.to_owned()),
        }
    }
    fn text(&self) -> String {
        self.clone()
    }
}

impl TextSetting for SocketAddr {
    const EXPECTED: &'static str =
        "an IP address and a port, such as \"0.0.0.0:2855\" or \"[::]:2855\"";
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| match text.rsplit_once(':') {
            None => format!("`{text}` has no port"),
            Some((_, port)) if port.parse::<u16>().is_err() => {
                format!("`{port}` is no port from 0 to 65535")
            }
            Some((host, _)) => {
                format!("`{host}` is no IP address (an IPv6 address stands in brackets)")
            }
        })
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

impl TextSetting for IpNet {
    const EXPECTED: &'static str =
        "a network in CIDR form, such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(IpNet::from(address));
        }
        let network: IpNet = text
            .parse()
            .map_err(|_| format!("`{text}` is no network"))?;
        match network.trunc() == network {
            true => Ok(network),
            false => Err(format!(
                "`{text}` has bits set beyond its prefix; did you mean `{}`?",
                network.trunc()
            )),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// A name server; without a port it is 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nameserver(pub SocketAddr);

impl TextSetting for Nameserver {
    const EXPECTED: &'static str =
        "the IP address of a name server, with a port if it is not 53, such as \"127.0.0.1:5353\"";
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Nameserver(SocketAddr::new(address, 53)));
        }
        SocketAddr::parse(text).map(Nameserver)
    }
    fn text(&self) -> String {
        self.0.to_string()
    }
}

/// The origin of a web page, as browsers send it: scheme, host, and the port where it is not the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TextSetting for Origin {
    const EXPECTED: &'static str = "an origin, such as \"https://chat.example.com\"";
    fn parse(text: &str) -> Result<Self, String> {
        let authority = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| format!("`{text}` begins with neither https:// nor http://"))?;
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', '*', ' ']) {
            return Err(format!(
                "`{text}` is not an origin: scheme, host and port, without path, user or wildcard"
            ));
        }
        Ok(Origin(text.to_ascii_lowercase()))
    }
    fn text(&self) -> String {
        self.0.clone()
    }
}

/// A DNS name, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DnsName(String);

impl DnsName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for DnsName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl TextSetting for DnsName {
    const EXPECTED: &'static str = "a DNS name, such as \"relay.example.com\"";
    fn parse(text: &str) -> Result<Self, String> {
        if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
            return Err(format!(
                "`{text}` is an address, not a name; certificates and Use-Path need a name (RFC 4976, 9.2)"
            ));
        }
        if text.contains("://") {
            return Err(format!("`{text}` is a URI; only its host belongs here"));
        }
        if let Some((_, port)) = text.split_once(':') {
            return Err(format!(
                "the port `{port}` does not belong to the name; ports stand in [[listen]]"
            ));
        }
        let labels_fit = text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
        match labels_fit && text.len() <= 253 {
            true => Ok(DnsName(text.to_ascii_lowercase())),
            false => Err(format!("`{text}` is no DNS name")),
        }
    }
    fn text(&self) -> String {
        self.0.clone()
    }
}

/// A name or an IP address by which URIs may call this relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayHost {
    Name(DnsName),
    /// Written as in a URI: IPv6 in brackets.
    Address(IpAddr),
}

impl RelayHost {
    /// The name, if it is one.
    pub fn name(&self) -> Option<&DnsName> {
        match self {
            RelayHost::Name(name) => Some(name),
            RelayHost::Address(_) => None,
        }
    }
}

impl Display for RelayHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RelayHost::Name(name) => name.fmt(f),
            RelayHost::Address(IpAddr::V4(address)) => address.fmt(f),
            RelayHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl TextSetting for RelayHost {
    const EXPECTED: &'static str = <DnsName as TextSetting>::EXPECTED;
    fn parse(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        match bare.unwrap_or(text).parse() {
            Ok(address) => Ok(RelayHost::Address(address)),
            Err(_) => DnsName::parse(text).map(RelayHost::Name),
        }
    }
    fn text(&self) -> String {
        self.to_string()
    }
}

/// A realm or a user's name: it has to fit into a line of the users' file and into a header.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(String);

impl Word {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TextSetting for Word {
    const EXPECTED: &'static str =
        "a string of 1 to 255 octets without colon, quote, backslash and control characters";
    fn parse(text: &str) -> Result<Self, String> {
        match (1..=255).contains(&text.len())
            && !text
                .chars()
                .any(|c| matches!(c, ':' | '"' | '\\') || c.is_control())
        {
            true => Ok(Word(text.to_owned())),
            false => Err(format!("`{text}` cannot stand in a users' file")),
        }
    }
    fn text(&self) -> String {
        self.0.clone()
    }
}

/// A password, or a URL that may hold one. `msrpd config` does not show it, and `msrpd check` accepts what stands there
/// instead.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    Known(String),
    /// Read from the output of `msrpd config`.
    Hidden,
}

/// What is written in the place of a secret.
const HIDDEN: &str = "(hidden)";

impl Secret {
    /// The secret, unless it is hidden.
    pub fn known(&self) -> Option<&str> {
        match self {
            Secret::Known(text) => Some(text),
            Secret::Hidden => None,
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl TextSetting for Secret {
    const EXPECTED: &'static str = "a string in quotes; better, name a file with it";
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            HIDDEN => Ok(Secret::Hidden),
            "" => Err("it is empty".into()),
            _ if text.chars().any(char::is_control) => {
                Err("a control character does not belong here".into())
            }
            _ => Ok(Secret::Known(text.to_owned())),
        }
    }
    fn text(&self) -> String {
        HIDDEN.to_owned()
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str =
        "a path in quotes; a relative one counts from the folder of this file";
    const BARE: bool = true;
    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
        match value.get_ref().as_str() {
            None => at.wrong_type(value, <Self as Setting>::EXPECTED),
            Some("") => at.fail(
                value.span(),
                "the path is empty",
                "name a file, or remove the line",
            ),
            Some(path) if path.contains('\0') => {
                at.fail(value.span(), "a path has no NUL", "name a file")
            }
            Some(path) => return Some(at.folder.join(path)),
        }
        None
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false (without quotes)";
    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
        let found = value.get_ref().as_bool();
        if found.is_none() {
            at.wrong_type(value, Self::EXPECTED);
        }
        found
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! whole_number {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            const EXPECTED: &'static str = "a whole number (without quotes)";
            fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
                let Some(digits) = value.get_ref().as_integer() else {
                    at.wrong_type(value, Self::EXPECTED);
                    return None;
                };
                let found = <$number>::from_str_radix(digits.as_str(), digits.radix()).ok();
                if found.is_none() {
                    at.fail(value.span(), &format!("{digits} is out of range"), &format!("write a number from 0 to {}", <$number>::MAX));
                }
                found
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}
whole_number!(u16, u32, u64, usize);

impl<T: Setting> Setting for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    const BARE: bool = T::BARE;
    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
        T::read(value, at).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Setting::show)
    }
}

impl<T: Setting> Setting for Vec<T> {
    const EXPECTED: &'static str = "a list in brackets";
    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
        let Some(items) = value.get_ref().as_array() else {
            at.wrong_type(
                value,
                &format!("a list in brackets; each item is {}", T::EXPECTED),
            );
            return None;
        };
        let found: Vec<Option<T>> = items.iter().map(|item| T::read(item, at)).collect();
        found.into_iter().collect()
    }
    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(Setting::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

impl<K: TextSetting + Ord, V: TextSetting> Setting for BTreeMap<K, V> {
    const EXPECTED: &'static str = "a table of strings, such as { \"example.com\" = \"Example\" }";
    fn read(value: &Spanned<DeValue<'_>>, at: &mut Reading<'_>) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            at.wrong_type(value, Self::EXPECTED);
            return None;
        };
        let mut map = BTreeMap::new();
        let mut all_good = true;
        for (name, item) in table.iter() {
            let key = match K::parse(name.get_ref()) {
                Ok(key) => Some(key),
                Err(what) => {
                    at.fail(
                        name.span(),
                        &what,
                        &format!("the key is to be {}", K::EXPECTED),
                    );
                    None
                }
            };
            match (key, V::read(item, at)) {
                (Some(key), Some(entry)) => drop(map.insert(key, entry)),
                _ => all_good = false,
            }
        }
        all_good.then_some(map)
    }
    fn show(&self) -> Option<String> {
        let entries: Vec<String> = self
            .iter()
            .map(|(key, entry)| format!("{} = {}", quoted(&key.text()), quoted(&entry.text())))
            .collect();
        Some(format!("{{ {} }}", entries.join(", ")))
    }
}
