//! The pages in a browser: on a telephone and on a desk, in light and in dark, nothing is cut off and all can be read.

#[allow(dead_code, reason = "each test program uses a part of it")]
mod fake_relay;
#[allow(dead_code, reason = "each test program uses a part of it")]
mod program;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use fake_relay::Fault;
use program::{World, bare};
use serde_json::Value;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const WIDTHS: [u32; 2] = [400, 1400];

/// The pages of every kind, by name.
fn pages() -> Vec<(&'static str, String)> {
    let good = World::new(Fault::None);
    let bad = World::new(Fault::Lose(5));
    let short = ["--duration", "600ms", "--warmup", "0s", "--quiet"];
    let page = |world: &World, workload: &[&str], more: &[&str]| {
        let report = ["--report", "page.html", "--user", "alice:wonderland"];
        let mut command = world.command(&[workload, &short, &report, more].concat());
        command.output().unwrap();
        fs::read_to_string(world.path("page.html")).unwrap()
    };
    let rate = ["--rate", "200", "--pairs", "2"];
    let bounds = ["--threshold", "p99<1us,lost=0", "--patience", "300ms"];
    let slo = ["--slo", "lost=0", "--from", "50", "--to", "60"];
    let mut pages = vec![
        ("run", page(&good, &["chat"], &rate)),
        (
            "lost",
            page(&bad, &["chat"], &[&rate[..], &bounds].concat()),
        ),
        ("idle", page(&good, &["idle"], &["--connections", "5"])),
        ("churn", page(&good, &["churn"], &["--pairs", "2"])),
        ("search", page(&good, &["search", "chat"], &slo)),
    ];
    for name in ["a.json", "b.json"] {
        page(&good, &["chat"], &rate);
        fs::rename(good.path("result.json"), good.path(name)).unwrap();
    }
    let compared = bare(good.folder.path())
        .args(["compare", "a.json", "b.json", "--html", "page.html"])
        .output();
    compared.unwrap();
    let comparison = fs::read_to_string(good.path("page.html")).unwrap();
    pages.push(("comparison", comparison));
    pages
}

/// What the browser says of each page at each width.
fn looked_at(browser: &str, folder: &Path, pages: &[(&str, String)], dark: bool) -> Vec<Value> {
    let mut frames = String::new();
    for (name, page) in pages {
        let page = page.replace('&', "&amp;").replace('"', "&quot;");
        for width in WIDTHS {
            let _ = write!(
                frames,
                "<iframe data-name=\"{name}\" width=\"{width}\" height=\"900\" style=\"border:0\" srcdoc=\"{page}\"></iframe>"
            );
        }
    }
    let file = folder.join("all.html");
    let look = include_str!("pages/look.js");
    let all = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\">{frames}\
         <pre id=\"found\"></pre><script>{look}</script>"
    );
    fs::write(&file, all).unwrap();
    // 0 is dark, 1 is light.
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let output = Command::new(browser)
        .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-dev-shm-usage", "--virtual-time-budget=5000"])
        .arg(scheme)
        .arg(format!("--user-data-dir={}", folder.display()))
        .args(["--window-size=1500,900", "--dump-dom"])
        .arg(format!("file://{}", file.display()))
        .stderr(Stdio::null())
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let found = dom.split_once("<pre id=\"found\">").unwrap().1;
    let found = found.split_once("</pre>").unwrap().0;
    let found = found
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&");
    serde_json::from_str(&found).unwrap_or_else(|e| panic!("{e}: {found}"))
}

fn in_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

#[test]
fn pages_are_readable_at_400_and_1400_pixels_in_light_and_dark() {
    let Some(browser) = BROWSERS.into_iter().find(|name| in_path(name)) else {
        eprintln!(
            "SKIPPED: {} is not here, no page was looked at",
            BROWSERS[0]
        );
        return;
    };
    let pages = pages();
    let mut backgrounds = Vec::new();
    for dark in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let found = looked_at(browser, folder.path(), &pages, dark);
        assert_eq!(found.len(), pages.len() * WIDTHS.len());
        for one in &found {
            let nothing = |what: &str| {
                let list = one[what].as_array().unwrap();
                assert!(list.is_empty(), "{what}: {one}");
            };
            // The page does not scroll sideways, and no card hides a part of what is in it.
            nothing("beyond");
            nothing("cut");
            nothing("overlapping");
            // WCAG's 4.5 for text that is not large.
            assert!(one["contrast"].as_f64().unwrap() >= 4.5, "{one}");
            // In pixels of the screen, also within pictures.
            assert!(one["smallest"].as_f64().unwrap() >= 8.0, "{one}");
            let charts = one["charts"].as_u64().unwrap();
            assert!(charts > 0 && one["shown"].as_u64() == Some(charts), "{one}");
        }
        backgrounds.push(found[0]["background"].clone());
    }
    assert_ne!(backgrounds[0], backgrounds[1], "light and dark");
}
