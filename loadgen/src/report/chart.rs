//! Line charts as SVG. Colours come from the page's style, so that light and dark both work.

use std::fmt::Write as _;

/// Of a chart that shares its row with another.
pub const WIDTH: f64 = 720.0;
/// Of one that has a row of its own.
pub const WIDE: f64 = 1440.0;
/// Of either on a small screen, where letters would become too small otherwise.
pub const NARROW: f64 = 372.0;
pub const HEIGHT: f64 = 260.0;
pub const LEFT: f64 = 68.0;
pub const RIGHT: f64 = 14.0;
pub const TOP: f64 = 12.0;
pub const BOTTOM: f64 = 38.0;

/// How values turn into places along one side of a chart.
#[derive(Clone, Copy)]
pub struct Axis {
    pub label: &'static str,
    /// Of the picture, if this is its lower side.
    pub width: f64,
    pub scale: Scale,
    pub min: f64,
    pub max: f64,
    /// How a tick's value reads.
    pub show: fn(f64) -> String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Linear,
    Log,
    /// Quantiles, each nine as far from the next: 0.9, 0.99, 0.999.
    Nines,
}

impl Axis {
    /// From 0 to a little above the largest.
    pub fn from_zero(
        label: &'static str,
        values: impl Iterator<Item = f64>,
        show: fn(f64) -> String,
    ) -> Self {
        let most = values.fold(0.0, f64::max);
        Self {
            label,
            width: WIDTH,
            scale: Scale::Linear,
            min: 0.0,
            max: if most > 0.0 { most * 1.08 } else { 1.0 },
            show,
        }
    }

    /// Logarithmic over all values, which must be above 0.
    pub fn log(
        label: &'static str,
        values: impl Iterator<Item = f64>,
        show: fn(f64) -> String,
    ) -> Self {
        let (low, high) = values.fold((f64::MAX, 0.0), |(low, high): (f64, f64), v| {
            (low.min(v), high.max(v))
        });
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        Self {
            label,
            width: WIDTH,
            scale: Scale::Log,
            min: low * 0.85,
            max: (high * 1.15).max(low * 2.0),
            show,
        }
    }

    /// Where a value lies between the two ends, from 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        let place = |v: f64| match self.scale {
            Scale::Linear => v,
            Scale::Log => v.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - v).max(1e-9).log10(),
        };
        let (low, high) = (place(self.min), place(self.max));
        ((place(value) - low) / (high - low).max(1e-12)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear if self.width < WIDTH => linear_ticks(self.min, self.max, 3.0),
            Scale::Linear => linear_ticks(self.min, self.max, 5.0),
            Scale::Log => log_ticks(self.min, self.max),
            // 0 would stand too near to the half.
            Scale::Nines => [0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999]
                .into_iter()
                .filter(|q| *q <= self.max)
                .collect(),
        }
    }

    pub fn x(&self, value: f64) -> f64 {
        LEFT + self.place(value) * (self.width - LEFT - RIGHT)
    }

    pub fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

fn linear_ticks(min: f64, max: f64, about: f64) -> Vec<f64> {
    let rough = (max - min) / about;
    let decade = 10_f64.powf(rough.max(1e-12).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * decade)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (min / step).ceil() as i64;
    (first..)
        .map(|n| n as f64 * step)
        .take_while(|tick| *tick <= max)
        .take(20)
        .collect()
}

fn log_ticks(min: f64, max: f64) -> Vec<f64> {
    let decades = (max / min).log10();
    let steps: &[f64] = match decades {
        d if d > 4.0 => &[1.0],
        d if d > 2.0 => &[1.0, 3.0],
        _ => &[1.0, 2.0, 5.0],
    };
    let first = min.log10().floor() as i32;
    (first..first + 16)
        .flat_map(|exponent| steps.iter().map(move |s| s * 10_f64.powi(exponent)))
        .filter(|tick| *tick >= min && *tick <= max)
        .collect()
}

/// One line; `class` names its colour: `a`, `b`, `c`, `d`, or `t` for a target.
pub struct Line {
    pub name: String,
    pub class: char,
    pub points: Vec<(f64, f64)>,
}

/// A chart with its legend, for wide screens and for narrow ones.
pub fn lines(x: &Axis, y: &Axis, lines: &[Line]) -> String {
    both(x, |x| drawn(x, y, lines)) + &legend(lines)
}

/// Twice the same picture: the page shows the one that fits.
pub fn both(x: &Axis, draw: impl Fn(&Axis) -> String) -> String {
    let narrow = Axis {
        width: NARROW,
        ..*x
    };
    format!(
        "<div class=\"w\">{}</div><div class=\"n\">{}</div>",
        draw(x),
        draw(&narrow)
    )
}

fn drawn(x: &Axis, y: &Axis, lines: &[Line]) -> String {
    let mut out = open(x, y);
    for line in lines.iter().filter(|line| !line.points.is_empty()) {
        let mut path = String::new();
        for (i, (px, py)) in line.points.iter().enumerate() {
            let sign = if i == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{sign}{:.1} {:.1}", x.x(*px), y.y(*py));
        }
        let _ = write!(out, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
        if line.points.len() <= 120 {
            for (px, py) in &line.points {
                let _ = write!(
                    out,
                    "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\"><title>{}: {} at {}</title></circle>",
                    x.x(*px),
                    y.y(*py),
                    line.name,
                    (y.show)(*py),
                    (x.show)(*px)
                );
            }
        }
    }
    out + "</svg>"
}

fn legend(lines: &[Line]) -> String {
    if lines.len() < 2 {
        return String::new();
    }
    let mut out = String::from("<p class=\"legend\">");
    for line in lines {
        let _ = write!(
            out,
            "<span class=\"key {}\"></span>{} ",
            line.class, line.name
        );
    }
    out + "</p>"
}

/// The frame of a chart: grid, ticks, labels. Whoever opens it closes it with `</svg>`.
pub fn open(x: &Axis, y: &Axis) -> String {
    let width = x.width;
    let mut out = format!(
        "<svg viewBox=\"0 0 {width} {HEIGHT}\" role=\"img\" aria-label=\"{} over {}\">",
        y.label, x.label
    );
    for tick in y.ticks() {
        let at = y.y(tick);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            width - RIGHT,
            LEFT - 7.0,
            at + 4.0,
            (y.show)(tick)
        );
    }
    for tick in x.ticks() {
        let at = x.x(tick);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 15.0,
            (x.show)(tick)
        );
    }
    let _ = write!(
        out,
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        width - RIGHT,
        HEIGHT - 5.0,
        x.label
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        assert_eq!(linear_ticks(0.0, 10.8, 5.0), [0.0, 5.0, 10.0]);
        assert_eq!(log_ticks(90.0, 1_200.0), [100.0, 200.0, 500.0, 1_000.0]);
        let nines = Axis {
            label: "",
            width: WIDTH,
            scale: Scale::Nines,
            min: 0.0,
            max: 0.9995,
            show: |q| format!("{q}"),
        };
        assert_eq!(nines.ticks(), [0.5, 0.9, 0.99, 0.999]);
        assert!((nines.place(0.9) - 1.0 / 3.301).abs() < 1e-3);
    }

    #[test]
    fn axes_of_nothing_are_drawn_all_the_same() {
        let x = Axis::from_zero("s", std::iter::empty(), |v| format!("{v}"));
        let y = Axis::log("us", std::iter::empty(), |v| format!("{v}"));
        let svg = lines(&x, &y, &[]);
        assert!(
            svg.matches("<svg").count() == 2 && !svg.contains("NaN"),
            "{svg}"
        );
    }
}
