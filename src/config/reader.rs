//! Reads the operator's file: overwrites defaults with what it says, notes everything that is wrong, with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::{Variable, variable};
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
    variables: &'r [Variable<'r>],
    /// Those of the variables that set a key, by their number.
    used: BTreeSet<usize>,
    /// The table that keys are taken from.
    scope: Scope<'r>,
    /// Every key that exists, to tell a misplaced one.
    everywhere: &'r [String],
    sections: Vec<&'static str>,
    problems: &'r mut Problems,
    pub places: Places,
}

/// Where keys are taken from at the moment.
#[derive(Default)]
struct Scope<'r> {
    /// Full name of the table; empty outside of sections.
    prefix: String,
    table: Option<&'r DeTable<'r>>,
    /// Keys that it may have.
    known: Vec<&'static str>,
    /// The variable that holds the table, if it is not the file.
    origin: Option<(&'r str, Place)>,
}

/// Where a value was found.
enum Found<'r> {
    File(&'r Spanned<DeValue<'r>>),
    Variable(usize),
}

impl<'r> Reader<'r> {
    pub fn new(
        text: &'r str,
        folder: &Path,
        root: &'r DeTable<'r>,
        variables: &'r [Variable<'r>],
        everywhere: &'r [String],
        problems: &'r mut Problems,
    ) -> Self {
        Reader {
            text,
            folder: folder.to_owned(),
            root,
            variables,
            used: BTreeSet::new(),
            scope: Scope::default(),
            everywhere,
            sections: Vec::new(),
            problems,
            places: Places::default(),
        }
    }

    /// Notes the sections and variables that do not exist. To be called when all keys were visited.
    pub fn finish(mut self) -> Places {
        self.unknown_variables();
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

    fn unknown_variables(&mut self) {
        let names: Vec<String> = self
            .everywhere
            .iter()
            .map(|key| variable(key).to_ascii_lowercase())
            .collect();
        for (number, unknown) in self.variables.iter().enumerate() {
            if self.used.contains(&number) {
                continue;
            }
            let help = match nearest(unknown.name, names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {}?", near.to_ascii_uppercase()),
                None => "a name is MSRPD__SECTION__KEY; unset what is no key".to_owned(),
            };
            let place = Some(Place::of_variable(number));
            self.problems
                .error(place, "this variable names no key", help);
        }
    }

    fn place(&self, offset: usize) -> Option<Place> {
        match self.scope.origin {
            Some((_, variable)) => Some(variable),
            None => Some(Place::of(self.text, offset)),
        }
    }

    /// The full name of a key of the current table.
    fn full(&self, name: &str) -> String {
        match self.scope.prefix.as_str() {
            "" => name.to_owned(),
            prefix => format!("{prefix}.{name}"),
        }
    }

    /// Goes into a table; what is returned leads back out.
    fn enter(&mut self, table: Option<&'r DeTable<'r>>, prefix: String) -> Scope<'r> {
        let origin = self.scope.origin;
        let inner = Scope {
            prefix,
            table,
            known: Vec::new(),
            origin,
        };
        std::mem::replace(&mut self.scope, inner)
    }

    /// Notes the keys of the current table that do not exist, and goes back to the one around it.
    fn leave(&mut self, outer: Scope<'r>) {
        for name in self.scope.table.iter().flat_map(|table| table.keys()) {
            let written: &str = name.get_ref();
            if self.scope.known.contains(&written) {
                continue;
            }
            let place = self.place(name.span().start);
            let help = match nearest(written, self.scope.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => match home_of(written, self.everywhere) {
                    Some(home) => format!("`{written}` belongs to [{home}]"),
                    None => format!("the keys here are {}", self.scope.known.join(", ")),
                },
            };
            let what = format!("{}: unknown key", self.full(written));
            self.problems.error(place, what, help);
        }
        self.scope = outer;
    }

    fn find(&mut self, name: &'static str) -> Option<Found<'r>> {
        self.scope.known.push(name);
        let key = self.full(name);
        // What stands in the table's own variable is as good as the file.
        if let Some(number) = self.variable(&key) {
            self.places.0.insert(key, Place::of_variable(number));
            return Some(Found::Variable(number));
        }
        let (written, value) = self
            .scope
            .table?
            .iter()
            .find(|(key, _)| key.get_ref() == name)?;
        if let Some(place) = self.place(written.span().start) {
            self.places.0.insert(key, place);
        }
        Some(Found::File(value))
    }

    /// The variable that sets this key.
    fn variable(&mut self, key: &str) -> Option<usize> {
        let wanted = variable(key);
        let number = self
            .variables
            .iter()
            .position(|given| given.name == wanted)?;
        self.used.insert(number);
        Some(number)
    }

    fn read<T: Setting>(&mut self, name: &'static str, found: &Found<'r>) -> Option<T> {
        let key = self.full(name);
        let (text, origin) = match (found, self.scope.origin) {
            (Found::Variable(number), _) => (
                self.variables[*number].text,
                Some(Place::of_variable(*number)),
            ),
            (Found::File(_), Some((text, variable))) => (text, Some(variable)),
            (Found::File(_), None) => (self.text, None),
        };
        let mut at = Reading {
            text,
            folder: &self.folder,
            origin,
            key,
            problems: self.problems,
        };
        match found {
            Found::File(value) => T::read(value, &mut at),
            Found::Variable(number) => match self.variables[*number].value(T::BARE) {
                Ok(value) => T::read(&value, &mut at),
                Err(error) => {
                    at.fail(0..0, error, &format!("write {}", T::EXPECTED));
                    None
                }
            },
        }
    }

    /// Where a found value stands.
    fn place_of(&self, found: &Found<'r>) -> Option<Place> {
        match found {
            Found::File(value) => self.place(value.span().start),
            Found::Variable(number) => Some(Place::of_variable(*number)),
        }
    }

    /// The tables of a `[[name]]`, from the file or a variable.
    fn tables(&mut self, key: &str, found: &Found<'r>) -> Option<&'r [Spanned<DeValue<'r>>]> {
        let value = match found {
            Found::File(value) => Ok(*value),
            Found::Variable(number) => self.variables[*number].toml(),
        };
        let place = self.places.of(key);
        let (what, help) = match (value.map(|value| value.get_ref().as_array()), found) {
            (Ok(Some(tables)), _) => return Some(tables),
            (Ok(None), Found::File(_)) => (
                format!("{key}: there may be several of these"),
                format!("write [[{key}]] with two brackets"),
            ),
            (Ok(None), Found::Variable(_)) => (
                format!("{key}: found something that is no list"),
                "write a list of tables: [{ key = value }]".to_owned(),
            ),
            (Err(error), _) => (
                format!("{key}: {error}"),
                "write a list of tables: [{ key = value }]".to_owned(),
            ),
        };
        self.problems.error(place, what, help);
        None
    }
}

impl Visitor for Reader<'_> {
    fn section(&mut self, name: &'static str, _about: &'static str, keys: impl FnOnce(&mut Self)) {
        if self.scope.prefix.is_empty() {
            self.sections.push(name);
            self.scope.table = Some(self.root);
        }
        self.scope.known.push(name);
        let full = self.full(name);
        let entry = self.scope.table.and_then(|table| {
            let mut entries = table.iter();
            entries.find(|(key, _)| key.get_ref() == name)
        });
        let mut table = None;
        if let Some((key, value)) = entry {
            let place = Place::of(self.text, key.span().start);
            self.places.0.insert(full.clone(), place);
            table = value.get_ref().as_table();
            if table.is_none() {
                let what = format!("{full}: this is a section");
                let help = format!("write [{full}] on a line of its own");
                self.problems.error(Some(place), what, help);
            }
        }
        let outer = self.enter(table, full);
        keys(self);
        self.leave(outer);
    }

    fn sections<T: Default>(
        &mut self,
        name: &'static str,
        _about: &'static str,
        items: &mut Vec<T>,
        keys: impl Fn(&mut Self, &mut T),
    ) {
        if self.scope.prefix.is_empty() {
            self.sections.push(name);
            self.scope.table = Some(self.root);
        }
        let key = self.full(name);
        let Some(found) = self.find(name) else { return };
        let Some(tables) = self.tables(&key, &found) else {
            return;
        };
        items.clear();
        let origin = match found {
            Found::File(_) => self.scope.origin,
            Found::Variable(number) => {
                Some((self.variables[number].text, Place::of_variable(number)))
            }
        };
        for (index, table) in tables.iter().enumerate() {
            let prefix = format!("{key}[{index}]");
            let outer = self.enter(table.get_ref().as_table(), prefix.clone());
            self.scope.origin = origin;
            let place = self.place(table.span().start);
            self.places
                .0
                .extend(place.map(|place| (prefix.clone(), place)));
            if self.scope.table.is_none() {
                let what = format!("{prefix}: found something that is no table");
                let help = format!("write [[{key}]] and its keys below");
                self.problems.error(place, what, help);
            } else {
                let mut item = T::default();
                keys(self, &mut item);
                items.push(item);
            }
            self.leave(outer);
        }
    }

    fn key<T: Setting>(&mut self, name: &'static str, _about: &'static str, value: &mut T) {
        if let Some(found) = self.find(name)
            && let Some(read) = self.read(name, &found)
        {
            *value = read;
        }
    }

    fn required<T: Setting>(&mut self, name: &'static str, about: &'static str, value: &mut T) {
        match self.find(name) {
            Some(found) => {
                if let Some(read) = self.read(name, &found) {
                    *value = read;
                }
            }
            None => {
                let key = self.full(name);
                let help = format!(
                    "add {name} = ... below [{}]: {}. Write {}",
                    self.scope.prefix,
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
        let Some(read) = self.read::<T>(name, &found) else {
            return;
        };
        if bounds.contains(&read) {
            *value = read;
            return;
        }
        let show = |value: &T| value.show().unwrap_or_default();
        let what = format!("{}: {} is out of range", self.full(name), show(&read));
        let help = format!(
            "write a value from {} to {}",
            show(bounds.start()),
            show(bounds.end())
        );
        self.problems.error(self.place_of(&found), what, help);
    }
}

/// The section that has a key of this name, if it is one only.
fn home_of(written: &str, everywhere: &[String]) -> Option<String> {
    let mut homes = everywhere
        .iter()
        .filter_map(|key| key.rsplit_once('.'))
        // Tables inside of sections repeat names of the section's own keys.
        .filter(|(section, name)| *name == written && !section.contains('.'))
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
