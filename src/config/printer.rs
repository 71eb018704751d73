//! Writes settings as a file that reads back to the same settings, with a comment for each key.

use std::fmt::Write;
use std::ops::RangeInclusive;

use super::setting::Setting;
use super::visit::Visitor;

/// The visitor that prints the values in force: `msrpd config`.
#[derive(Default)]
pub struct Printer {
    section: &'static str,
    pub out: String,
}

impl Printer {
    fn heading(&mut self, line: &str, about: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        let _ = writeln!(self.out, "# {about}\n{line}");
    }

    fn line<T: Setting>(&mut self, name: &str, about: &str, value: &T) {
        let _ = match value.show() {
            Some(value) => writeln!(self.out, "# {about}\n{name} = {value}"),
            None => writeln!(self.out, "# {about}\n# {name} is not set"),
        };
    }
}

impl Visitor for Printer {
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
        items: &mut Vec<T>,
        keys: impl Fn(&mut Self, &mut T),
    ) {
        for item in items {
            let heading = match self.section {
                "" => format!("[[{name}]]"),
                section => format!("[[{section}.{name}]]"),
            };
            self.heading(&heading, about);
            keys(self, item);
        }
    }

    fn key<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T) {
        self.line(name, about, value);
    }

    fn required<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T) {
        self.line(name, about, value);
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        name: &'static str,
        about: &'static str,
        value: &mut T,
        _bounds: RangeInclusive<T>,
    ) {
        self.line(name, about, value);
    }
}

/// The visitor that lists the full name of every key.
#[derive(Default)]
pub struct Names {
    section: String,
    pub names: Vec<String>,
}

impl Names {
    fn push(&mut self, name: &str) {
        self.names.push(format!("{}.{name}", self.section));
    }
}

impl Visitor for Names {
    fn section(&mut self, name: &'static str, _about: &'static str, keys: impl FnOnce(&mut Self)) {
        let outer = self.section.clone();
        self.section = match outer.as_str() {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        keys(self);
        self.section = outer;
    }

    fn sections<T: Default>(
        &mut self,
        name: &'static str,
        _about: &'static str,
        _items: &mut Vec<T>,
        keys: impl Fn(&mut Self, &mut T),
    ) {
        let outer = self.section.clone();
        self.section = match outer.as_str() {
            "" => name.to_owned(),
            section => format!("{section}.{name}"),
        };
        keys(self, &mut T::default());
        self.section = outer;
    }

    fn key<T: Setting>(&mut self, name: &'static str, _about: &'static str, _value: &mut T) {
        self.push(name);
    }

    fn required<T: Setting>(&mut self, name: &'static str, _about: &'static str, _value: &mut T) {
        self.push(name);
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        name: &'static str,
        _about: &'static str,
        _value: &mut T,
        _bounds: RangeInclusive<T>,
    ) {
        self.push(name);
    }
}
