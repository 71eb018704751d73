//! What is wrong with the operator's file: where it stands, what is wrong, what to do about it.
//!
//! Reading never stops at the first mistake. Everything that is found is collected in [`Problems`] and shown together,
//! in the order of the file, each in the form `file:line:column: what` with a line of help below.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in the operator's file, counted from 1; or a variable of the environment that sets a key instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

impl Place {
    /// The place of the octet at `offset` in `text`; columns count characters, as editors do.
    pub fn of(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.matches('\n').count() as u32 + 1,
            column: before[line_start..].chars().count() as u32 + 1,
        }
    }
}

impl Place {
    /// The variable with this number among those of [`Problems::with_variables`]. No line has the number 0.
    pub fn of_variable(number: usize) -> Self {
        Place {
            line: 0,
            column: number as u32,
        }
    }

    fn variable(self) -> Option<usize> {
        (self.line == 0).then_some(self.column as usize)
    }
}

/// Whether start-up goes on in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    pub severity: Severity,
    pub file: PathBuf,
    /// Absent where the mistake is that something is missing from the whole file, or the file itself.
    pub place: Option<Place>,
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Problem {
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// As it is shown, for a log, whose lines tell the severity themselves.
    pub fn without_severity(&self) -> impl fmt::Display + '_ {
        Unmarked(self)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.without_severity())
    }
}

struct Unmarked<'a>(&'a Problem);

impl fmt::Display for Unmarked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problem) = self;
        write!(f, "{}:", problem.file.display())?;
        if let Some(place) = problem.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        write!(f, " {}", printable(&problem.what))?;
        if !problem.help.is_empty() {
            write!(f, "\n  help: {}", printable(&problem.help))?;
        }
        Ok(())
    }
}

/// Control characters that a file may have smuggled into a message are shown escaped, not sent to the terminal.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\n        "),
            character if character.is_control() => out.extend(character.escape_default()),
            character => out.push(character),
        }
    }
    out
}

/// All that was found wrong with one file.
#[derive(Clone, Debug)]
pub struct Problems {
    file: PathBuf,
    /// Names of the variables that set keys.
    variables: Vec<String>,
    found: Vec<Problem>,
}

impl Problems {
    pub fn new(file: &Path) -> Self {
        Problems {
            file: file.to_owned(),
            variables: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Names the variables of the environment that set keys: problems with those name the variable, not the file.
    pub fn with_variables(mut self, variables: impl IntoIterator<Item = String>) -> Self {
        self.variables = variables.into_iter().collect();
        self
    }

    /// The operator's file that these problems are about.
    pub fn file(&self) -> &Path {
        &self.file
    }

    pub fn error(
        &mut self,
        place: Option<Place>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Error, place, what.into(), help.into());
    }

    pub fn warning(
        &mut self,
        place: Option<Place>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Severity::Warning, place, what.into(), help.into());
    }

    /// Something is wrong in another file that the operator's file names, such as a line of the users' file.
    pub fn error_in(
        &mut self,
        file: &Path,
        place: Option<Place>,
        what: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.found.push(Problem {
            severity: Severity::Error,
            file: file.to_owned(),
            place,
            what: what.into(),
            help: help.into(),
        });
    }

    fn push(&mut self, severity: Severity, place: Option<Place>, what: String, help: String) {
        let variable = place.and_then(Place::variable);
        let variable = variable.and_then(|number| self.variables.get(number));
        let (file, place) = match variable {
            Some(variable) => (PathBuf::from(variable), None),
            None => (self.file.clone(), place),
        };
        self.found.push(Problem {
            severity,
            file,
            place,
            what,
            help,
        });
    }

    pub fn has_errors(&self) -> bool {
        self.errors() > 0
    }

    pub fn errors(&self) -> usize {
        self.found
            .iter()
            .filter(|problem| problem.is_error())
            .count()
    }

    pub fn warnings(&self) -> usize {
        self.found.len() - self.errors()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// In the order of the operator's file; what concerns the whole file first, other files last.
    pub fn sort(&mut self) {
        let file = self.file.clone();
        self.found
            .sort_by_key(|problem| (problem.file != file, problem.file.clone(), problem.place));
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.found.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a = 1\nüü = 2\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 6), Place { line: 2, column: 1 });
        assert_eq!(Place::of(text, 10), Place { line: 2, column: 3 });
        assert_eq!(
            Place::of(text, 7),
            Place { line: 2, column: 1 },
            "inside a character"
        );
        assert_eq!(Place::of(text, 999), Place { line: 3, column: 1 });
    }

    #[test]
    fn a_problem_says_where_what_and_what_to_do() {
        let mut problems = Problems::new(Path::new("/etc/msrpd.toml"));
        problems.error(
            Some(Place { line: 4, column: 2 }),
            "odd \x1b[2J value",
            "remove it",
        );
        problems.warning(None, "no users", "");
        problems.sort();
        assert_eq!(
            problems.to_string(),
            "warning: /etc/msrpd.toml: no users\n\
             error: /etc/msrpd.toml:4:2: odd \\u{1b}[2J value\n  help: remove it"
        );
        assert_eq!((problems.errors(), problems.warnings()), (1, 1));
    }
}
