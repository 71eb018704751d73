//! `examples/call/run.sh`: a call with Kamailio and SIPp, where they are installed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::place::said;

fn is_installed(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "PATH=$PATH:/usr/sbin command -v \"$0\"", program]);
    let status = command.stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[test]
fn the_call_of_examples_call_goes_through() {
    let missing = ["kamailio", "sipp"].map(|program| (program, is_installed(program)));
    if missing.iter().any(|(_, installed)| !installed) {
        println!("not tried: kamailio and sip-tester are not installed ({missing:?})");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/call/run.sh");
    let mut command = Command::new(script);
    command.env("MSRPD", env!("CARGO_BIN_EXE_msrpd"));
    let (code, text) = said(&command.stdin(Stdio::null()).output().expect("it runs"));
    assert_eq!(code, Some(0), "{text}");
    for step in [
        "alice  received Hello Alice",
        "bob  received Hello Bob",
        "bob  received Here I am again",
        "alice  received Welcome back",
        "all well",
    ] {
        assert!(text.contains(step), "no {step} in {text}");
    }
    assert_eq!(text.matches("  delivered ").count(), 4, "{text}");
}
