//! One tab with the chat page, and what a user does there and sees.

use std::time::Duration;

use serde_json::{Value, json};
use thirtyfour::{By, WindowHandle};

use crate::driver::Browser;

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(40);

pub struct Page<'b> {
    browser: &'b Browser,
    window: WindowHandle,
}

impl<'b> Page<'b> {
    pub fn new(browser: &'b Browser, window: WindowHandle) -> Self {
        Self { browser, window }
    }

    async fn to_front(&self) {
        let window = self.window.clone();
        let done = self.browser.driver.switch_to_window(window).await;
        done.expect("the tab is there");
    }

    pub async fn open(&self, url: &str) {
        self.to_front().await;
        let done = self.browser.driver.goto(url).await;
        done.expect("the page is loaded");
    }

    async fn script(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.to_front().await;
        let answer = self.browser.driver.execute(script, arguments).await;
        answer.expect("the script runs").json().clone()
    }

    /// Waits for a condition in JavaScript; the test's own time bounds it.
    pub async fn until(&self, what: &str, condition: &str) {
        self.until_with(what, condition, "").await;
    }

    /// The same, with `arguments[0]`.
    pub async fn until_with(&self, what: &str, condition: &str, argument: &str) {
        let script = format!("return Boolean({condition})");
        let mut told = tokio::time::Instant::now() + Duration::from_secs(15);
        while self.script(&script, vec![json!(argument)]).await != json!(true) {
            if told.elapsed() > Duration::ZERO {
                let shown = self.script("return document.body.innerText", vec![]).await;
                eprintln!("still waiting for {what}; the page shows: {shown}");
                told += Duration::from_secs(15);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub async fn click(&self, css: &str) {
        self.to_front().await;
        let element = self.browser.driver.find(By::Css(css)).await;
        let clicked = element.expect("the element is there").click().await;
        clicked.expect("it can be clicked");
    }

    pub async fn enter(&self, css: &str, text: &str) {
        self.to_front().await;
        let element = self.browser.driver.find(By::Css(css)).await;
        let typed = element.expect("the element is there").send_keys(text).await;
        typed.expect("it takes keys");
    }

    /// Keys for whatever has the focus.
    pub async fn press(&self, keys: &str) {
        self.to_front().await;
        let pressed = self
            .browser
            .driver
            .action_chain()
            .send_keys(keys)
            .perform()
            .await;
        pressed.expect("keys are pressed");
    }

    pub async fn value(&self, css: &str) -> String {
        let script = "return document.querySelector(arguments[0]).value";
        let value = self.script(script, vec![json!(css)]).await;
        value.as_str().expect("a text").to_owned()
    }

    pub async fn sign_in(&self, user: &str) {
        let button = format!("[data-user={user}]");
        let there = format!("document.querySelector('{button}')");
        self.until("the users are offered", &there).await;
        self.click(&button).await;
        self.is_connected_as(user).await;
    }

    pub async fn say(&self, text: &str) {
        self.until(
            "something can be sent",
            "document.querySelector('#text:enabled')",
        )
        .await;
        // The driver types no characters beyond the first plane.
        let script = "document.querySelector('#text').value = arguments[0]";
        self.script(script, vec![json!(text)]).await;
        self.click("#send").await;
    }

    pub async fn attach(&self, file: &str) {
        self.enter("#file", file).await;
    }

    /// As if it were dragged here and dropped.
    pub async fn drop_file(&self, name: &str, octets: u32) {
        let begin = "window.dragged = new DataTransfer();
            dragged.items.add(new File([new Uint8Array(arguments[1])], arguments[0]));
            document.body.dispatchEvent(new DragEvent('dragenter', { bubbles: true, dataTransfer: dragged }))";
        self.script(begin, vec![json!(name), json!(octets)]).await;
        self.until(
            "a place to drop it",
            "!document.querySelector('#drop').hidden",
        )
        .await;
        let end = "document.body.dispatchEvent(new DragEvent('drop', { bubbles: true, dataTransfer: dragged }));
            return document.querySelector('#drop').hidden";
        assert_eq!(self.script(end, vec![]).await, json!(true));
    }

    pub async fn is_connected_as(&self, user: &str) {
        let condition = "document.querySelector('#state').textContent === `Connected as ${arguments[0]}` \
            && document.querySelector('#own-path').value";
        self.until_with("a connection", condition, user).await;
    }

    pub async fn is_lost(&self) {
        self.until(
            "the loss of the connection",
            "document.querySelector('#state').dataset.state === 'lost'",
        )
        .await;
    }

    pub async fn has_received(&self, text: &str) {
        let condition = "[...document.querySelectorAll('.theirs .text')].some(one => one.textContent === arguments[0])";
        self.until_with("a message", condition, text).await;
    }

    pub async fn has_note(&self, words: &str) {
        let condition = "[...document.querySelectorAll('.note')].some(one => one.textContent.includes(arguments[0]))";
        self.until_with("a note", condition, words).await;
    }

    /// How the last message of ours stands: `sent`, `delivered`, `failed`, `cancelled`.
    pub async fn last_is(&self, state: &str) {
        let condition =
            "[...document.querySelectorAll('.mine')].at(-1)?.dataset.state === arguments[0]";
        self.until_with(state, condition, state).await;
    }

    pub async fn screenshot(&self) -> Vec<u8> {
        self.to_front().await;
        let picture = self.browser.driver.screenshot_as_png().await;
        picture.expect("a picture")
    }

    /// On a desk and on a telephone, by day and by night: nothing sticks out, every control says what it is, and texts stand
    /// out from their ground (WCAG 2.2, 1.4.3).
    pub async fn is_usable(&self) {
        let usual = self.browser.driver.cdp();
        for width in [1100, 390] {
            self.to_front().await;
            let metrics = json!({ "width": width, "height": 720, "deviceScaleFactor": 1, "mobile": width < 500 });
            let set = usual
                .send_raw("Emulation.setDeviceMetricsOverride", metrics)
                .await;
            set.expect("a width");
            for scheme in ["dark", "light"] {
                let features =
                    json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
                let set = usual.send_raw("Emulation.setEmulatedMedia", features).await;
                set.expect("a colour scheme");
                let wrong = self.script(WRONG, vec![]).await;
                assert_eq!(wrong, json!([]), "{width} wide, {scheme}");
            }
        }
        let set = usual
            .send_raw("Emulation.clearDeviceMetricsOverride", json!({}))
            .await;
        set.expect("the usual width");
    }
}

/// What is wrong with the page as it is shown.
const WRONG: &str = r"
const wrong = [];
const seen = (element) => element.checkVisibility() && !element.closest('[aria-hidden]');
if (document.scrollingElement.scrollWidth > innerWidth) wrong.push(`${document.scrollingElement.scrollWidth} wide`);
for (const control of document.querySelectorAll('button, input, textarea, progress, [role=log]')) {
  if (!seen(control)) continue;
  const name = control.getAttribute('aria-label') || control.labels?.[0]?.textContent || control.textContent.trim();
  if (!name) wrong.push(`without a name: ${control.outerHTML}`);
  const { right, left } = control.getBoundingClientRect();
  if (left < 0 || right > innerWidth + 1) wrong.push(`sticks out: ${control.outerHTML}`);
}
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const paint = (colour, under) => {
  canvas.fillStyle = under;
  canvas.fillRect(0, 0, 1, 1);
  canvas.fillStyle = colour;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
  return `rgb(${r}, ${g}, ${b})`;
};
const ground = (element) => {
  const under = element.parentElement ? ground(element.parentElement) : 'white';
  return paint(getComputedStyle(element).backgroundColor, under);
};
const luminance = (colour) => {
  const parts = colour.match(/\d+/g).map((part) => part / 255);
  const [r, g, b] = parts.map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
for (const element of document.querySelectorAll('p, h1, h2, h3, label, span, button, a, code, time, summary, small')) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !seen(element) || element.disabled || element.closest('.unseen, [data-state=sending]')) continue;
  const behind = ground(element);
  const [light, dark] = [luminance(paint(getComputedStyle(element).color, behind)), luminance(behind)].sort((a, b) => b - a);
  const contrast = (light + 0.05) / (dark + 0.05);
  if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(1)}: ${element.outerHTML}`);
}
return wrong;
";
