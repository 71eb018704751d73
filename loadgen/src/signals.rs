//! Ctrl-C and SIGTERM: the first ends the measured stretch in order, a second one quits at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// As a shell has it for a program that a signal ended.
const EXIT_CODE: i32 = 130;

/// Begins to listen. The count rises with every signal.
pub fn listen() -> Result<Arc<AtomicUsize>, String> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|e| format!("signals: {e}"))?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if counted.fetch_add(1, Ordering::Relaxed) > 0 {
                    crate::view::restore();
                    crate::output::remove_unwritten();
                    std::process::exit(EXIT_CODE);
                }
            }
        })
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    Ok(count)
}
