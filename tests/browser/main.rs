//! The chat page of `web/` in a real browser, headless: Chromium by WebDriver, and relays by `msrpd dev`.
//!
//! `MSRPD_WRITE_SCREENSHOT=1` writes the picture of README.md, `docs/chat.png`.

mod driver;
mod page;
mod relays;

use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use driver::Browser;
use page::Page;
use relays::{Ports, Relay};

/// What one test may take, on a small and busy machine.
const TEST_MAX: Duration = Duration::from_secs(60);

/// Runs a test in a browser of its own, one after the other; says so where there is none.
fn in_browser(test: impl AsyncFnOnce(&Browser)) {
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let browser = match Browser::start().await {
            Ok(browser) => browser,
            Err(missing) => return eprintln!("skipped: {missing} is not installed"),
        };
        let done = tokio::time::timeout(TEST_MAX, test(&browser)).await;
        done.expect("the test is done in time");
        browser.quit().await;
    });
}

/// What README.md promises; without mouse and without a path to copy.
#[test]
fn a_newcomer_opens_two_tabs_and_chats_by_keyboard() {
    in_browser(async |browser| {
        let folder = tempfile::tempdir().expect("a folder");
        let relay = Relay::alone(folder.path());
        let [alice, bob] = browser.two_pages([&relay.page(), &relay.page()]).await;
        for page in [&alice, &bob] {
            page.until(
                "users are offered",
                "document.querySelectorAll('#users button').length === 2",
            )
            .await;
            page.is_usable().await;
        }
        alice.press("\u{e004}").await;
        alice.press("\u{e007}").await;
        alice.is_connected_as("alice").await;
        bob.press("\u{e004}\u{e004}").await;
        bob.press("\u{e007}").await;
        bob.is_connected_as("bob").await;
        bob.until(
            "the other tab is found",
            "document.querySelector('#nearby-list button')",
        )
        .await;
        bob.is_usable().await;
        // From the path that one would enter, by its button, to whoever is in the other tab.
        bob.press("\u{e004}\u{e004}").await;
        bob.press("\u{e007}").await;
        bob.until(
            "a chat",
            "document.activeElement === document.querySelector('#text:enabled')",
        )
        .await;
        bob.press("Hello, this is <b>Bob</b>").await;
        bob.press("\u{e007}").await;
        bob.last_is("delivered").await;
        alice.has_received("Hello, this is <b>Bob</b>").await;
        alice
            .until(
                "their name",
                "document.querySelector('#peer-name').textContent === 'bob'",
            )
            .await;
        for page in [&alice, &bob] {
            page.is_usable().await;
        }
        browser.has_no_complaints().await;
    });
}

#[test]
fn pages_on_two_relays_exchange_texts_and_files_and_outlive_restarts_of_both() {
    in_browser(async |browser| {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = [Ports::free(), Ports::free()];
        let mut relay_a = Relay::one_of_two(folder.path(), "relay-a", ports[0]);
        let mut relay_b = Relay::one_of_two(folder.path(), "relay-b", ports[1]);
        let [alice, bob] = browser.two_pages([&relay_a.page(), &relay_b.page()]).await;
        alice.sign_in("alice").await;
        bob.sign_in("bob").await;
        let path = bob.value("#own-path").await;
        assert!(path.starts_with("msrps://relay-b.localhost:"), "{path}");
        alice.enter("#peer-path", &path).await;
        alice.click("#peer button").await;

        alice
            .say("Hi Bob, I am at another relay. Do you read me?")
            .await;
        alice.last_is("delivered").await;
        bob.has_received("Hi Bob, I am at another relay. Do you read me?")
            .await;
        bob.say("Loud and clear, in both directions.").await;
        bob.last_is("delivered").await;
        alice
            .has_received("Loud and clear, in both directions.")
            .await;

        let (file, sum) = file_of_10_mb(folder.path());
        alice.attach(&file).await;
        alice.last_is("delivered").await;
        bob.until_with(
            "the file with its sum",
            "document.querySelector('.theirs .digest')?.textContent === arguments[0]",
            &sum,
        )
        .await;
        bob.until(
            "a link to it",
            "document.querySelector('.theirs a[download=\"holiday.zip\"]')",
        )
        .await;

        // Dropped on the page; the button is pressed as soon as some of it has left.
        bob.drop_file("film.mp4", 64_000_000).await;
        bob.until("some of it has left", CANCEL_THE_FIRST_PROGRESS)
            .await;
        bob.last_is("cancelled").await;
        alice
            .until("the end of it", "[...document.querySelectorAll('.theirs.file')].at(-1)?.textContent.includes('cancelled by the other side')")
            .await;
        alice
            .until("no link to it", "!document.querySelector('.theirs a')")
            .await;
        alice.say("Never mind. See you tomorrow!").await;
        alice.last_is("delivered").await;
        write_screenshot(&alice).await;

        relay_a.end_in_order();
        alice.is_lost().await;
        relay_a.start_again();
        alice.is_connected_as("alice").await;
        alice.has_note("The other side knows your new path").await;
        bob.say("You were away: \u{e9}, \u{4f60}\u{597d}, \u{1f642}")
            .await;
        bob.last_is("delivered").await;
        alice
            .has_received("You were away: \u{e9}, \u{4f60}\u{597d}, \u{1f642}")
            .await;

        relay_b.kill();
        bob.is_lost().await;
        relay_b.start_again();
        bob.is_connected_as("bob").await;
        bob.has_note("The other side knows your new path").await;
        alice.say("And now you were").await;
        alice.last_is("delivered").await;
        bob.has_received("And now you were").await;
        browser.has_no_complaints().await;
    });
}

const CANCEL_THE_FIRST_PROGRESS: &str = "(bar => {
    if (!(bar?.value > 0)) return false;
    bar.closest('li').querySelector('button').click();
    return true;
})(document.querySelector('.mine progress'))";

/// Its path and the SHA-256 of its octets.
fn file_of_10_mb(folder: &Path) -> (String, String) {
    let mut octets = vec![0; 10_000_000];
    getrandom::fill(&mut octets).expect("the kernel has random octets");
    let file = folder.join("holiday.zip");
    std::fs::write(&file, &octets).expect("a file is written");
    let sum = Sha256::digest(&octets);
    let sum = sum.iter().map(|octet| format!("{octet:02x}")).collect();
    (file.display().to_string(), sum)
}

async fn write_screenshot(page: &Page<'_>) {
    page.is_usable().await;
    if std::env::var_os("MSRPD_WRITE_SCREENSHOT").is_some() {
        let picture = page.screenshot().await;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/chat.png");
        std::fs::write(file, picture).expect("the picture is written");
    }
}
