//! What the user sees while a run goes on: a live view on a terminal, a line a second elsewhere, or nothing.

mod lines;
mod terminal;

use std::io::IsTerminal;
use std::time::Duration;

use crate::observer::Snapshot;

use lines::Lines;
use terminal::Terminal;

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Faster,
    Slower,
    End,
}

pub enum View {
    Quiet,
    Lines(Lines),
    Terminal(Box<Terminal>),
}

impl View {
    /// The live view where both ends are a terminal; `title` is what is run.
    pub fn new(quiet: bool, title: &str) -> Self {
        let interactive = std::io::stderr().is_terminal() && std::io::stdin().is_terminal();
        match (quiet, interactive) {
            (true, _) => Self::Quiet,
            (false, true) => match Terminal::new(title) {
                Ok(terminal) => Self::Terminal(Box::new(terminal)),
                Err(_) => Self::Lines(Lines::default()),
            },
            (false, false) => Self::Lines(Lines::default()),
        }
    }

    pub fn show(&mut self, snapshot: &Snapshot, patience: Duration) {
        match self {
            Self::Quiet => {}
            Self::Lines(lines) => lines.show(snapshot, patience),
            Self::Terminal(terminal) => terminal.show(snapshot, patience),
        }
    }

    /// Keys that were pressed since the last call.
    pub fn wishes(&mut self) -> Vec<Wish> {
        match self {
            Self::Terminal(terminal) => terminal.wishes(),
            _ => Vec::new(),
        }
    }

    /// Leaves the screen to the table.
    pub fn finish(&mut self) {
        if let Self::Terminal(terminal) = self {
            terminal.finish();
        }
        *self = Self::Quiet;
    }
}

/// Gives the terminal back as it was, whoever has it: the program ends at once.
pub fn restore() {
    let _ = ratatui::crossterm::terminal::disable_raw_mode();
}
