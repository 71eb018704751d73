//! `perf/attacks.py` still attacks: two rows of its table, with the relay of the tests.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::said;

/// The cells of the row that is called so.
fn row(only: &str) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/attacks.py");
    let mut command = Command::new("python3");
    command.arg(script).args(["--only", only, "--relay"]);
    command.arg(env!("CARGO_BIN_EXE_msrpd"));
    let (code, text) = said(&command.stdin(Stdio::null()).output().expect("python3 runs"));
    assert_eq!(code, Some(0), "{text}");
    let line = text.lines().find(|line| line.contains(only));
    let cells = line
        .unwrap_or_else(|| panic!("no {only} in {text}"))
        .split('|');
    cells.map(|cell| cell.trim().to_owned()).collect()
}

/// The number that a cell begins with.
fn number(cell: &str) -> f64 {
    let digits: String = cell.split(' ').next().unwrap_or_default().replace(',', "");
    digits.parse().expect("a number")
}

#[test]
fn attacks_py_says_what_requests_cost() {
    let cells = row("AUTH without credentials");
    assert_eq!(
        &cells[1..4],
        ["AUTH without credentials", "anybody", "2,000"]
    );
    let (octets, cpu) = (number(&cells[4]), number(&cells[5]));
    assert!((100.0..200.0).contains(&octets), "{cells:?}");
    assert!(cpu > 0.1, "{cells:?}");
}

#[test]
fn attacks_py_says_what_memory_is_held() {
    // A head that does not end stays in memory as long as its connection.
    let cells = row("heads of 30 KB that do not end");
    let held = number(&cells[7]);
    assert!((30_000.0..300_000.0).contains(&held), "{cells:?}");
}
