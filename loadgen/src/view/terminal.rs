//! The live view: some rows at the bottom of the terminal, drawn anew a few times a second.

use std::collections::VecDeque;
use std::io::{self, Stderr};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, Paragraph, Sparkline};
use ratatui::{Frame, TerminalOptions, Viewport};

use crate::observer::{Phase, Snapshot};
use crate::summary::text::{grouped, micros, rounded};

use super::{Wish, lines};

const ROWS: u16 = 8;
/// Looks that the sparkline remembers; more than a terminal is wide.
const REMEMBERED: usize = 400;

pub struct Terminal {
    terminal: ratatui::Terminal<CrosstermBackend<Stderr>>,
    screen: Screen,
}

impl Terminal {
    pub fn new(title: &str) -> io::Result<Self> {
        enable_raw_mode()?;
        let options = TerminalOptions {
            viewport: Viewport::Inline(ROWS),
        };
        let terminal =
            ratatui::Terminal::with_options(CrosstermBackend::new(io::stderr()), options);
        if terminal.is_err() {
            let _ = disable_raw_mode();
        }
        Ok(Self {
            terminal: terminal?,
            screen: Screen::new(
                title,
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            ),
        })
    }

    pub fn show(&mut self, snapshot: &Snapshot, patience: Duration) {
        self.screen.remember(snapshot);
        // A terminal that cannot be drawn on is no reason to end a run.
        let _ = self
            .terminal
            .draw(|frame| self.screen.draw(frame, snapshot, patience));
    }

    pub fn wishes(&mut self) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while event::poll(Duration::ZERO).unwrap_or(false) {
            let Ok(Event::Key(key)) = event::read() else {
                continue;
            };
            if key.kind == KeyEventKind::Release {
                continue;
            }
            match key.code {
                KeyCode::Char('+' | '=') => wishes.push(Wish::Faster),
                KeyCode::Char('-') => wishes.push(Wish::Slower),
                KeyCode::Char('q') | KeyCode::Esc => wishes.push(Wish::End),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                    // In raw mode the terminal makes no signal of it.
                    let _ = signal_hook::low_level::raise(signal_hook::consts::SIGINT);
                }
                _ => {}
            }
        }
        wishes
    }

    pub fn finish(&mut self) {
        let _ = self.terminal.clear();
        let _ = self.terminal.show_cursor();
        let _ = disable_raw_mode();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = disable_raw_mode();
    }
}

/// What is drawn, whatever it is drawn on.
struct Screen {
    title: String,
    coloured: bool,
    rates: VecDeque<u64>,
}

/// One column of figures. Those with the higher rank stay on a narrow terminal.
struct Column {
    rank: u8,
    name: &'static str,
    value: String,
    bad: bool,
}

const GAP: usize = 2;

impl Column {
    fn width(&self) -> usize {
        self.name.len().max(self.value.len()) + GAP
    }
}

impl Screen {
    fn new(title: &str, coloured: bool) -> Self {
        Self {
            title: title.to_owned(),
            coloured,
            rates: VecDeque::new(),
        }
    }

    fn remember(&mut self, snapshot: &Snapshot) {
        if matches!(snapshot.phase, Phase::WarmUp | Phase::Measuring) {
            self.rates.push_back(snapshot.rate.round() as u64);
            if self.rates.len() > REMEMBERED {
                self.rates.pop_front();
            }
        }
    }

    fn style(&self, colour: Color) -> Style {
        match self.coloured {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn draw(&self, frame: &mut Frame<'_>, s: &Snapshot, patience: Duration) {
        let rows = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Min(0),
        ])
        .split(frame.area());
        let bold = Style::new().add_modifier(Modifier::BOLD);
        frame.render_widget(Line::styled(self.title.as_str(), bold), rows[0]);
        self.draw_progress(frame, rows[1], s);
        if matches!(s.phase, Phase::SettingUp | Phase::Settling) {
            let text = lines::text(s, patience).unwrap_or_default();
            frame.render_widget(Paragraph::new(text), rows[2]);
            return;
        }
        let seen = (rows[2].width as usize).min(self.rates.len());
        let rates: Vec<u64> = self
            .rates
            .iter()
            .skip(self.rates.len() - seen)
            .copied()
            .collect();
        frame.render_widget(
            Sparkline::default()
                .data(&rates)
                .style(self.style(Color::Cyan)),
            rows[2],
        );
        let columns = fitting(columns(s), rows[3].width as usize);
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in &columns {
            let width = column.width();
            names.push(Span::styled(
                format!("{:<width$}", column.name),
                self.style(Color::DarkGray),
            ));
            let style = if column.bad {
                self.style(Color::Red).add_modifier(Modifier::BOLD)
            } else {
                bold
            };
            values.push(Span::styled(format!("{:<width$}", column.value), style));
        }
        frame.render_widget(Line::from(names), rows[3]);
        frame.render_widget(Line::from(values), rows[4]);
        let keys = match s.target {
            Some(_) => "+ and - change the rate, q ends the run",
            None => "q ends the run",
        };
        frame.render_widget(Line::styled(keys, self.style(Color::DarkGray)), rows[5]);
    }

    fn draw_progress(&self, frame: &mut Frame<'_>, area: Rect, s: &Snapshot) {
        let left = match (s.phase, s.left) {
            (Phase::SettingUp, _) => "connecting".to_owned(),
            (Phase::Settling, _) => "settling".to_owned(),
            (Phase::WarmUp, Some(left)) => format!("{} left, warm-up", clock(left)),
            (_, Some(left)) => format!("{} left", clock(left)),
            (_, None) => String::new(),
        };
        let gauge = LineGauge::default()
            .ratio(s.share.clamp(0.0, 1.0))
            .label(format!("{}  {left}", clock(s.elapsed)))
            .filled_style(self.style(Color::Green))
            .unfilled_style(self.style(Color::DarkGray));
        frame.render_widget(gauge, area);
    }
}

fn columns(s: &Snapshot) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut add = |rank, name, value: String, bad| {
        columns.push(Column {
            rank,
            name,
            value,
            bad,
        });
    };
    let time = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), micros);
    let behind =
        s.target.is_some_and(|target| s.rate < target * 0.9) && s.phase == Phase::Measuring;
    add(9, "messages/s", rounded(s.rate), behind);
    if let Some(target) = s.target {
        add(8, "target", rounded(target), false);
    }
    add(7, "p50", time(s.recent.p50), false);
    add(8, "p99", time(s.recent.p99), false);
    add(5, "p99.9", time(s.recent.p999), false);
    add(2, "MB/s", format!("{:.1}", s.megabytes_per_second), false);
    add(3, "under way", grouped(s.unsettled as u64), false);
    if let Some(cpu) = s.relay_cpu {
        add(4, "relay CPU", format!("{:.0} %", cpu * 100.0), false);
    }
    if let Some(rss) = s.relay_rss {
        add(
            3,
            "relay MiB",
            format!("{:.1}", rss as f64 / 1_048_576.0),
            false,
        );
    }
    if let Some(cpu) = s.own_cpu {
        add(1, "own CPU", format!("{:.0} %", cpu * 100.0), false);
    }
    let errors = s.reported + s.wrong + s.lost_connections;
    add(6, "errors", grouped(errors), errors > 0);
    columns
}

/// As many as fit, the lowest ranks dropped first.
fn fitting(mut columns: Vec<Column>, width: usize) -> Vec<Column> {
    while columns.len() > 1 && columns.iter().map(Column::width).sum::<usize>() > width + GAP {
        let lowest = (0..columns.len()).min_by_key(|place| columns[*place].rank);
        columns.remove(lowest.unwrap_or(0));
    }
    columns
}

/// `1:02:03`, `02:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes:02}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::backend::TestBackend;

    fn drawn(width: u16, coloured: bool) -> (String, bool) {
        let snapshot = Snapshot {
            phase: Phase::Measuring,
            elapsed: Duration::from_secs(65),
            left: Some(Duration::from_secs(7)),
            share: 0.9,
            target: Some(5_000.0),
            rate: 4_321.0,
            reported: 3,
            relay_cpu: Some(0.5),
            relay_rss: Some(30 << 20),
            own_cpu: Some(0.2),
            ..Snapshot::default()
        };
        let mut screen = Screen::new("chat", coloured);
        screen.remember(&snapshot);
        let mut terminal = ratatui::Terminal::new(TestBackend::new(width, ROWS)).unwrap();
        terminal
            .draw(|frame| screen.draw(frame, &snapshot, Duration::ZERO))
            .unwrap();
        let buffer = terminal.backend().buffer();
        let colour = buffer.content.iter().any(|cell| cell.fg != Color::Reset);
        let text: String = buffer
            .content
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        (text, colour)
    }

    #[test]
    fn a_wide_terminal_shows_everything_and_a_narrow_one_the_essential() {
        let (wide, _) = drawn(120, true);
        for part in [
            "01:05",
            "00:07 left",
            "4,321",
            "5,000",
            "p99.9",
            "relay CPU",
            "30.0",
            "own CPU",
            "errors",
        ] {
            assert!(wide.contains(part), "{part}: {wide}");
        }
        let (narrow, _) = drawn(40, true);
        for part in ["4,321", "5,000", "p99"] {
            assert!(narrow.contains(part), "{part}: {narrow}");
        }
        assert!(
            !narrow.contains("own CPU") && !narrow.contains("MB/s"),
            "{narrow}"
        );
    }

    #[test]
    fn no_color_is_respected() {
        assert!(drawn(80, true).1 && !drawn(80, false).1);
    }
}
