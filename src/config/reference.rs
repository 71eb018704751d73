//! Writes docs/configuration.md from the description of the keys; a test holds the file to it.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::Config;
use super::setting::Setting;
use super::visit::Visitor;

const PREAMBLE: &str = "\
# Configuration

One TOML file, named with `--config`. `msrpd.sample.toml` is one to start from.

- Relative paths count from the folder of the file.
- Durations are strings with a unit: `\"250ms\"`, `\"30s\"`, `\"5m\"`, `\"1h\"`, `\"1d\"`; `expires_*` are seconds. Sizes are octets.
- An unknown key is an error, with a suggestion.
- The environment stands before the file: `MSRPD__SECTION__KEY=VALUE` sets `key` of `[section]`. The value is TOML; around
  strings, paths and durations quotes may be left out. A list of tables is set as a whole:
  `MSRPD__LISTEN='[{ address = \"[::]:2855\" }]'`. Errors then name the variable.
- Secrets are never in this file: it names the files that hold them. With systemd's credentials or a container's secrets:
  `MSRPD__TLS__KEY=/run/secrets/relay.key`.
- `msrpd check --config FILE` finds all mistakes at once, with file, line and column. `msrpd config --config FILE` prints
  what is in force.
- SIGHUP reads the file again. What needs a restart keeps its old value, and the log says so: `relay.workers`,
  `relay.hosts`, `[[listen]]`, `[admin]`, `dns.nameservers`, `log.format`.
";

/// The whole reference.
pub fn reference() -> String {
    let mut reference = Reference {
        section: "",
        out: PREAMBLE.to_owned(),
    };
    Config::default().visit(&mut reference);
    reference.out
}

struct Reference {
    section: &'static str,
    out: String,
}

impl Reference {
    fn heading(&mut self, heading: &str, about: &str) {
        let _ = write!(
            self.out,
            "\n## `{heading}`\n\n{about}\n\n| Key | Default | Range | |\n|---|---|---|---|\n"
        );
    }

    fn row(&mut self, name: &str, default: Option<String>, range: &str, about: &str) {
        let default = default.map_or("–".to_owned(), |default| format!("`{default}`"));
        let about = about.replace('|', "\\|");
        let _ = writeln!(self.out, "| `{name}` | {default} | {range} | {about} |");
    }
}

impl Visitor for Reference {
    fn section(&mut self, name: &'static str, about: &'static str, keys: impl FnOnce(&mut Self)) {
        if !self.section.is_empty() {
            self.heading(&format!("[{}.{name}]", self.section), about);
            return keys(self);
        }
        self.heading(&format!("[{name}]"), about);
        self.section = name;
        keys(self);
        self.section = "";
    }

    fn sections<T: Default>(
        &mut self,
        name: &'static str,
        about: &'static str,
        _items: &mut Vec<T>,
        keys: impl Fn(&mut Self, &mut T),
    ) {
        let heading = match self.section {
            "" => format!("[[{name}]]"),
            section => format!("[[{section}.{name}]]"),
        };
        self.heading(&heading, about);
        keys(self, &mut T::default());
    }

    fn key<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T) {
        self.row(name, value.show(), "", about);
    }

    fn required<T: Setting>(&mut self, name: &'static str, about: &'static str, _value: &mut T) {
        self.row(name, None, "required", about);
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        name: &'static str,
        about: &'static str,
        value: &mut T,
        bounds: RangeInclusive<T>,
    ) {
        let show = |value: &T| value.show().unwrap_or_default().replace('"', "");
        let range = format!("{} to {}", show(bounds.start()), show(bounds.end()));
        self.row(name, value.show(), &range, about);
    }
}
