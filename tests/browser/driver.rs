//! Chromium and its driver.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::{ChromiumLikeCapabilities, DesiredCapabilities, WebDriver};

use crate::page::Page;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const DRIVER: &str = "chromedriver";

/// How the browser is started: as root in a container as well, and with pages that are behind others at full speed.
const ARGUMENTS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--window-size=1100,720",
];

pub struct Browser {
    pub driver: WebDriver,
    // Behind the session, which ends through it.
    process: DriverProcess,
}

impl Browser {
    /// Says what is missing where it cannot be started.
    pub async fn start() -> Result<Self, &'static str> {
        let browser = BROWSERS.iter().find_map(|name| in_path(name));
        let browser = browser.ok_or(BROWSERS[0])?;
        in_path(DRIVER).ok_or(DRIVER)?;
        let process = DriverProcess::start();
        let mut wanted = DesiredCapabilities::chrome();
        let set = wanted.set_binary(&browser);
        set.expect("a capability");
        for argument in ARGUMENTS {
            wanted.add_arg(argument).expect("a capability");
        }
        let set = wanted.set_browser_log_level(LoggingPrefsLogLevel::All);
        set.expect("a capability");
        let url = format!("http://127.0.0.1:{}", process.port);
        let driver = WebDriver::new(url, wanted).await;
        Ok(Self {
            driver: driver.expect("the browser starts"),
            process,
        })
    }

    /// Two tabs with these pages.
    pub async fn two_pages(&self, urls: [&str; 2]) -> [Page<'_>; 2] {
        let first = self.driver.window().await.expect("a window");
        let second = self.driver.new_tab().await.expect("another tab");
        let pages = [Page::new(self, first), Page::new(self, second)];
        for (page, url) in pages.iter().zip(urls) {
            page.open(url).await;
        }
        pages
    }

    /// Nothing was wrong with a script or against the policy of the page; that a relay cannot be reached is expected.
    pub async fn has_no_complaints(&self) {
        let log = self.driver.browser_log().await.expect("a log");
        let severe = log.iter().filter(|entry| entry.level == "SEVERE");
        let odd: Vec<_> = severe
            .filter(|entry| entry.source.as_deref() != Some("network"))
            .collect();
        assert!(odd.is_empty(), "{odd:?}");
    }

    pub async fn quit(self) {
        self.driver.quit().await.expect("the session ends");
        drop(self.process);
    }
}

fn in_path(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    let file = files.find(|file| file.is_file())?;
    Some(file.display().to_string())
}

/// Ends, and its browsers with it, when it is dropped.
struct DriverProcess {
    child: Child,
    port: u16,
    _output: BufReader<ChildStdout>,
}

impl DriverProcess {
    fn start() -> Self {
        let mut child = Command::new(DRIVER)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the driver runs");
        let mut output = BufReader::new(child.stdout.take().expect("stdout"));
        let mut said = String::new();
        let port = loop {
            let begin = said.len();
            let count = output.read_line(&mut said).expect("the driver speaks");
            assert!(count > 0, "the driver has ended:\n{said}");
            let port = said[begin..].split_once("successfully on port ");
            if let Some((_, port)) = port {
                let digits: String = port.chars().take_while(char::is_ascii_digit).collect();
                break digits.parse().expect("a port");
            }
        };
        Self {
            child,
            port,
            _output: output,
        }
    }
}

impl Drop for DriverProcess {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
