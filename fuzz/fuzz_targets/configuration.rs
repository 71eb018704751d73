//! Any text as a configuration file, lines behind an octet 0 as variables of the environment: nothing panics, every problem has its
//! place in the file, and a configuration that is taken means the same when it is printed and read back.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use msrpd::config;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (text, variables) = text.split_once('\0').unwrap_or((text, ""));
    let variables: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (format!("MSRPD__{name}"), value.to_owned()))
        .collect();
    let path = Path::new("/nowhere/msrpd.toml");
    let loaded = config::parse(path, text, &variables);
    for problem in loaded.problems.iter() {
        assert!(!problem.to_string().is_empty());
    }
    if loaded.problems.has_errors() {
        return;
    }
    let printed = config::print(&loaded.config);
    let again = config::parse(path, &printed, &[]);
    assert!(
        !again.problems.has_errors(),
        "{}\n{printed}",
        again.problems
    );
    assert_eq!(config::print(&again.config), printed);
});
