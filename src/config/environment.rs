//! Keys set by the environment: `MSRPD__SECTION__KEY` stands before the same key of the file.
//!
//! Containers and systemd units change single values so, without a file of their own. The value is TOML; where a string
//! is wanted, quotes may be left out. A list of tables is set as a whole: `MSRPD__LISTEN='[{ address = "[::]:2855" }]'`.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::DeValue;

/// What every such variable begins with.
const PREFIX: &str = "MSRPD__";

/// Variables of this process that name keys, sorted.
pub fn of_process() -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let ours = name.starts_with(PREFIX);
            ours.then(|| (name, value.to_string_lossy().into_owned()))
        })
        .collect();
    found.sort();
    found
}

/// The variable that sets the key with this full name, such as `tls.key`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// A variable and what it says.
pub struct Variable<'e> {
    pub name: &'e str,
    pub text: &'e str,
    /// As TOML; the error where it is none.
    value: Result<Spanned<DeValue<'e>>, String>,
}

impl<'e> Variable<'e> {
    pub fn parse((name, text): &'e (String, String)) -> Self {
        let value =
            DeValue::parse(text).map_err(|error| error.message().trim().replace('\n', "; "));
        Variable { name, text, value }
    }

    /// The value, for a key that may be written without quotes or not.
    pub fn value(&self, bare: bool) -> Result<Cow<'_, Spanned<DeValue<'e>>>, &str> {
        if bare && !self.text.starts_with(['"', '\'']) {
            let text = DeValue::String(Cow::Borrowed(self.text));
            return Ok(Cow::Owned(Spanned::new(0..self.text.len(), text)));
        }
        self.toml().map(Cow::Borrowed)
    }

    /// The value as TOML.
    pub fn toml(&self) -> Result<&Spanned<DeValue<'e>>, &str> {
        self.value.as_ref().map_err(String::as_str)
    }
}
