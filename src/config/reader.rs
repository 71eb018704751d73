//! Reads the operator's file: overwrites defaults with what it says, notes everything that is wrong, with its place.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problems};
use super::setting::{Reading, Setting};
use super::visit::Visitor;

/// Where each key of the file stands, under its full name: `tls.certificate`, `listen[1].address`.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// The place of a key, else of its section.
    pub fn of(&self, key: &str) -> Option<Place> {
        let section = || {
            key.rsplit_once('.')
                .and_then(|(section, _)| self.0.get(section))
        };
        self.0.get(key).or_else(section).copied()
    }

    /// Whether the file has this key.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}

/// The visitor that reads.
pub struct Reader<'r> {
    text: &'r str,
    folder: PathBuf,
    root: &'r DeTable<'r>,
    /// The table that keys are taken from, and its name.
    table: Option<&'r DeTable<'r>>,
    prefix: String,
    /// Keys that the current table may have.
    known: Vec<&'static str>,
    /// Every key that exists, to tell a misplaced one.
    everywhere: &'r [String],
    sections: Vec<&'static str>,
    problems: &'r mut Problems,
    pub places: Places,
}

impl<'r> Reader<'r> {
    pub fn new(
        text: &'r str,
        folder: &Path,
        root: &'r DeTable<'r>,
        everywhere: &'r [String],
        problems: &'r mut Problems,
    ) -> Self {
        Reader {
            text,
            folder: folder.to_owned(),
            root,
            table: None,
            prefix: String::new(),
            known: Vec::new(),
            everywhere,
            sections: Vec::new(),
            problems,
            places: Places::default(),
        }
    }

    /// Notes the sections that do not exist. To be called when all were visited.
    pub fn finish(self) -> Places {
        for name in self.root.keys() {
            let written: &str = name.get_ref();
            if self.sections.contains(&written) {
                continue;
            }
            let place = Some(Place::of(self.text, name.span().start));
            if let Some(home) = home_of(written, self.everywhere) {
                let help = format!("it belongs to [{home}]: put it below that line");
                self.problems.error(
                    place,
                    format!("{written}: this key stands outside its section"),
                    help,
                );
                continue;
            }
            let help = match nearest(written, self.sections.iter().copied()) {
                Some(near) => format!("did you mean [{near}]?"),
                None => format!("the sections are {}", self.sections.join(", ")),
            };
            self.problems
                .error(place, format!("{written}: unknown section"), help);
        }
        self.places
    }

    fn place(&self, offset: usize) -> Option<Place> {
        Some(Place::of(self.text, offset))
    }

    fn enter(&mut self, table: Option<&'r DeTable<'r>>, prefix: String) {
        self.table = table;
        self.prefix = prefix;
        self.known.clear();
    }

    /// Notes the keys of the current table that do not exist.
    fn leave(&mut self) {
        let Some(table) = self.table.take() else {
            return;
        };
        for name in table.keys() {
            let written: &str = name.get_ref();
            if self.known.contains(&written) {
                continue;
            }
            let place = self.place(name.span().start);
            let help = match nearest(written, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => match home_of(written, self.everywhere) {
                    Some(home) => format!("`{written}` belongs to [{home}]"),
                    None => format!("the keys here are {}", self.known.join(", ")),
                },
            };
            self.problems.error(
                place,
                format!("{}.{written}: unknown key", self.prefix),
                help,
            );
        }
    }

    fn find(&mut self, name: &'static str) -> Option<&'r Spanned<DeValue<'r>>> {
        self.known.push(name);
        let (key, value) = self.table?.iter().find(|(key, _)| key.get_ref() == name)?;
        let place = Place::of(self.text, key.span().start);
        self.places
            .0
            .insert(format!("{}.{name}", self.prefix), place);
        Some(value)
    }

    fn read<T: Setting>(&mut self, name: &'static str, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let mut at = Reading {
            text: self.text,
            folder: &self.folder,
            key: format!("{}.{name}", self.prefix),
            problems: self.problems,
        };
        T::read(value, &mut at)
    }
}

impl Visitor for Reader<'_> {
    fn section(&mut self, name: &'static str, _about: &'static str, keys: impl FnOnce(&mut Self)) {
        self.sections.push(name);
        let mut table = None;
        if let Some((key, value)) = self.root.iter().find(|(key, _)| key.get_ref() == name) {
            let place = Place::of(self.text, key.span().start);
            self.places.0.insert(name.to_owned(), place);
            table = value.get_ref().as_table();
            if table.is_none() {
                let what = format!("{name}: this is a section");
                self.problems.error(
                    Some(place),
                    what,
                    format!("write [{name}] on a line of its own"),
                );
            }
        }
        self.enter(table, name.to_owned());
        keys(self);
        self.leave();
    }

    fn sections<T: Default>(
        &mut self,
        name: &'static str,
        _about: &'static str,
        items: &mut Vec<T>,
        keys: impl Fn(&mut Self, &mut T),
    ) {
        self.sections.push(name);
        let Some((key, value)) = self.root.iter().find(|(key, _)| key.get_ref() == name) else {
            return;
        };
        let place = Place::of(self.text, key.span().start);
        self.places.0.insert(name.to_owned(), place);
        let Some(tables) = value.get_ref().as_array() else {
            let what = format!("{name}: there may be several of these");
            self.problems.error(
                Some(place),
                what,
                format!("write [[{name}]] with two brackets"),
            );
            return;
        };
        items.clear();
        for (index, table) in tables.iter().enumerate() {
            let mut item = T::default();
            let prefix = format!("{name}[{index}]");
            let place = Place::of(self.text, table.span().start);
            self.places.0.insert(prefix.clone(), place);
            match table.get_ref().as_table() {
                Some(fields) => self.enter(Some(fields), prefix),
                None => {
                    let what = format!("{prefix}: found something that is no table");
                    self.problems.error(
                        Some(place),
                        what,
                        format!("write [[{name}]] and its keys below"),
                    );
                    continue;
                }
            }
            keys(self, &mut item);
            self.leave();
            items.push(item);
        }
    }

    fn key<T: Setting>(&mut self, name: &'static str, _about: &'static str, value: &mut T) {
        if let Some(found) = self.find(name)
            && let Some(read) = self.read(name, found)
        {
            *value = read;
        }
    }

    fn required<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T) {
        match self.find(name) {
            Some(found) => {
                if let Some(read) = self.read(name, found) {
                    *value = read;
                }
            }
            None => {
                let key = format!("{}.{name}", self.prefix);
                let help = format!(
                    "add {name} = ... below [{}]: {}. Write {}",
                    self.prefix,
                    about,
                    T::EXPECTED
                );
                self.problems
                    .error(self.places.of(&key), format!("{key}: missing"), help);
            }
        }
    }

    fn bounded<T: Setting + PartialOrd>(
        &mut self,
        name: &'static str,
        _about: &'static str,
        value: &mut T,
        bounds: RangeInclusive<T>,
    ) {
        let Some(found) = self.find(name) else { return };
        let Some(read) = self.read::<T>(name, found) else {
            return;
        };
        if bounds.contains(&read) {
            *value = read;
            return;
        }
        let show = |value: &T| value.show().unwrap_or_default();
        let what = format!("{}.{name}: {} is out of range", self.prefix, show(&read));
        let help = format!(
            "write a value from {} to {}",
            show(bounds.start()),
            show(bounds.end())
        );
        self.problems
            .error(self.place(found.span().start), what, help);
    }
}

/// The section that has a key of this name, if it is one only.
fn home_of(written: &str, everywhere: &[String]) -> Option<String> {
    let mut homes = everywhere
        .iter()
        .filter_map(|key| key.rsplit_once('.'))
        .filter(|(_, name)| *name == written)
        .map(|(section, _)| section.to_owned());
    let home = homes.next()?;
    homes.next().is_none().then_some(home)
}

/// What the operator may have meant.
fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let written = written.to_ascii_lowercase().replace('-', "_");
    names
        .map(|name| (strsim::damerau_levenshtein(&written, name), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len() / 3).clamp(1, 3))
        .map(|(_, name)| name)
}
