//! Instructions of the machine for each message, counted by valgrind, and compared with those of
//! `perf/instructions.toml`: a slow-down of a few per cent is seen whatever else the host does.
//!
//!     cargo bench --bench instructions                  # compare; fails where a message costs more
//!     cargo bench --bench instructions -- --write       # take the new counts
//!     cargo bench --bench instructions -- --slower 10   # with 10 % more: has to fail

mod walk;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};

use walk::{Pair, Walk};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name, who sends, octets of a body, chunks at once, rounds.
type Case = (&'static str, Pair, usize, usize, usize);

const CASES: [Case; 6] = [
    (
        "chat_foreign_sender_window_16",
        Pair::ForeignSender,
        300,
        16,
        200,
    ),
    (
        "chat_foreign_receiver_window_16",
        Pair::ForeignReceiver,
        300,
        16,
        200,
    ),
    ("chat_both_here_window_16", Pair::BothHere, 300, 16, 200),
    (
        "chat_foreign_sender_window_1",
        Pair::ForeignSender,
        300,
        1,
        2000,
    ),
    ("chunk_2_kib", Pair::ForeignSender, 2048, 8, 200),
    ("chunk_64_kib", Pair::ForeignSender, 65_536, 1, 200),
];

/// How much more a message may cost, in per cent.
const TOLERANCE: f64 = 4.0;
const COUNTED: &str = "msrpd_counted";

/// Valgrind counts what happens in here.
#[unsafe(no_mangle)]
#[inline(never)]
fn msrpd_counted(walk: &mut Walk, window: usize, rounds: usize, more: u64) {
    for _ in 0..rounds {
        walk.pass(window);
        // One instruction for each turn would be too few to rely on: a multiplication and a count.
        let mut value = 1_u64;
        for turn in 0..more {
            value = black_box(value.wrapping_mul(turn | 1));
        }
    }
}

/// The exit code that says that a message costs more, and nothing else.
const DIFFERS: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(name) = value("--case") {
        let turns = value("--turns").map_or(0, |turns| turns.parse().expect("a number"));
        run(&name, turns);
        return ExitCode::SUCCESS;
    }
    let slower = value("--slower").map_or(0.0, |percent| percent.parse().expect("per cent"));
    compare(
        slower,
        arguments.iter().any(|argument| argument == "--write"),
    )
}

fn run(name: &str, turns: u64) {
    let (_, pair, body, window, rounds) = CASES
        .into_iter()
        .find(|case| case.0 == name)
        .expect("one of the cases");
    let mut walk = Walk::new(pair, body, 1);
    for _ in 0..rounds / 4 {
        walk.pass(window);
    }
    msrpd_counted(&mut walk, window, rounds, turns);
}

fn compare(slower: f64, write: bool) -> ExitCode {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("perf/instructions.toml");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let known: BTreeMap<String, u64> = toml::from_str(&known).expect("names and counts");
    let mut counts = BTreeMap::new();
    let mut wrong = 0;
    println!(
        "{:32} {:>12} {:>12} {:>8}",
        "instructions per message", "committed", "now", ""
    );
    for (name, _, _, window, rounds) in CASES {
        let messages = (window * rounds) as u64;
        let mut count = counted(name, 0) / messages;
        if slower > 0.0 {
            // How many turns make that much, by two counts.
            let per_turn = (counted(name, 1000) / messages).saturating_sub(count) as f64 / 1000.0;
            let turns = count as f64 * slower / 100.0 / per_turn;
            count = counted(name, turns as u64) / messages;
        }
        counts.insert(name.to_owned(), count);
        let committed = known.get(name).copied();
        let change = committed.map(|before| (count as f64 / before as f64 - 1.0) * 100.0);
        let far = change.is_none_or(|change| change > TOLERANCE);
        let better = change.is_some_and(|change| change < -TOLERANCE);
        wrong += usize::from(far);
        println!(
            "{name:32} {:>12} {count:>12} {:>7}{}",
            committed.map_or("-".to_owned(), |count| count.to_string()),
            change.map_or("new".to_owned(), |change| format!("{change:+.1}%")),
            match (far, better) {
                (true, _) => "  <- beyond the tolerance",
                (_, true) => "  <- better: take the new count",
                _ => "",
            },
        );
    }
    if write {
        let text: String = counts
            .iter()
            .map(|(name, count)| format!("{name} = {count}\n"))
            .collect();
        let head = "# Instructions of the machine for each message, without TLS and sockets.\n\
                    # Taken by `cargo bench --bench instructions -- --write`.\n";
        std::fs::write(&file, format!("{head}{text}")).expect("the file can be written");
        return ExitCode::SUCCESS;
    }
    if wrong > 0 {
        println!(
            "{wrong} of {} cost over {TOLERANCE} % more. Meant so? Say why in the commit, and \
             take the new counts: cargo bench --bench instructions -- --write",
            CASES.len()
        );
        return ExitCode::from(DIFFERS);
    }
    ExitCode::SUCCESS
}

/// Instructions within [`msrpd_counted`], of a run of its own.
fn counted(name: &str, turns: u64) -> u64 {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(this)
        .args(["--case", name, "--turns", &turns.to_string()])
        .output()
        .expect("valgrind is installed (apt install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    said.lines()
        .find_map(|line| line.split_once("Collected : "))
        .and_then(|(_, count)| count.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind gives no count:\n{said}"))
}
