//! The program as a user has it: started beside a fake relay, with its results read back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::fake_relay::{FakeRelay, Fault, HOST};

pub struct World {
    pub folder: TempDir,
    pub relay: FakeRelay,
}

pub struct Run {
    pub code: i32,
    pub result: Value,
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new(fault: Fault) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = FakeRelay::start(&folder.path().join("ca.pem"), fault);
        Self { folder, relay }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with the relay's address, for more arguments. Results go to result.json.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = bare(self.folder.path());
        command
            .args(arguments)
            .args(["--address", &self.relay.address.to_string()])
            .args(["--host", HOST, "--ca", "ca.pem", "--json", "result.json"]);
        command
    }

    /// As alice, whom the relay knows.
    pub fn chat(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&[&["chat"], arguments].concat());
        command.args(["--user", "alice:wonderland"]);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Run {
        let output = self.chat(arguments).output().unwrap();
        self.read(&output)
    }

    /// Starts it; [`Self::end`] waits for it.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.chat(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    pub fn end(&self, child: Child) -> Run {
        let output = child.wait_with_output().unwrap();
        self.read(&output)
    }

    fn read(&self, output: &Output) -> Run {
        let text = std::fs::read_to_string(self.path("result.json")).unwrap_or_default();
        Run {
            code: output.status.code().unwrap_or(-1),
            result: serde_json::from_str(&text).unwrap_or_default(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program, without a relay.
pub fn bare(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msrpload"));
    command.current_dir(folder);
    command
}

/// Sends it a signal.
pub fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

impl Run {
    pub fn number(&self, path: &str) -> f64 {
        let found = self.result.pointer(path).and_then(Value::as_f64);
        found.unwrap_or_else(|| panic!("{path}: {}\n{}", self.result, self.stderr))
    }

    pub fn text(&self, path: &str) -> String {
        self.result
            .pointer(path)
            .map(Value::to_string)
            .unwrap_or_default()
    }
}
