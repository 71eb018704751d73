//! How a function becomes a test. Most rows wait, for a timer or for a silence, so many run at once.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::{Arguments, Failed, Trial};

use super::relay;

/// Room for the rows that sleep for 30 s and for those that wait for their turn (`heavy`).
const THREADS: usize = 96;

/// `any`: works with every relay (one that runs elsewhere included); `own`: needs one that the
/// suite starts, or a foreign peer that it can dial.
#[macro_export]
macro_rules! rows {
    (any: [$($any:ident),* $(,)?], own: [$($own:ident),* $(,)?] $(,)?) => {
        pub fn rows() -> Vec<libtest_mimic::Trial> {
            vec![
                $($crate::support::run::row(stringify!($any), true, $any),)*
                $($crate::support::run::row(stringify!($own), false, $own),)*
            ]
        }

        /// All by name, to be run in another way.
        #[allow(dead_code, reason = "some topics are not repeated")]
        pub fn tests() -> Vec<(&'static str, fn())> {
            vec![
                $((stringify!($any), $any as fn()),)*
                $((stringify!($own), $own as fn()),)*
            ]
        }
    };
}

thread_local! {
    /// What the test on this thread died of; `None` on threads that are no test's own.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

pub fn row(name: &'static str, works_elsewhere: bool, test: fn()) -> Trial {
    Trial::test(name, move || caught(test))
        .with_ignored_flag(relay::is_elsewhere() && !works_elsewhere)
}

fn caught(test: impl FnOnce()) -> Result<(), Failed> {
    LAST_PANIC.set(Some(String::new()));
    catch_unwind(AssertUnwindSafe(test))
        .map_err(|_| Failed::from(LAST_PANIC.take().unwrap_or_default()))
}

/// The same test with clients that come by WebSocket.
#[allow(dead_code, reason = "one suite repeats its rows")]
pub fn row_by_web(name: &'static str, test: fn()) -> Trial {
    Trial::test(format!("by_web::{name}"), move || {
        caught(|| super::web::by_web(test))
    })
    .with_ignored_flag(relay::is_elsewhere())
}

/// Runs them and leaves the process.
pub fn run(rows: Vec<Trial>) -> ! {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(THREADS));
    // What a failed test has to say is shown with its name, not in the midst of others.
    std::panic::set_hook(Box::new(|info| {
        LAST_PANIC.with_borrow_mut(|last| match last {
            Some(text) => *text = info.to_string(),
            None => eprintln!("{info}"),
        });
    }));
    let conclusion = libtest_mimic::run(&arguments, rows);
    let _ = std::panic::take_hook();
    relay::check_shared();
    conclusion.exit()
}
