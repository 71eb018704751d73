//! The page of `web/`: a chat in the browser, for trying a relay out. Only `msrpd dev` has it served.
//!
//! It tells whoever can connect the passwords of its users, so the caller serves it on loopback only.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::routing::get;

/// Path, content type, octets.
const FILES: [(&str, &str, &[u8]); 5] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_bytes!("../../web/index.html"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_bytes!("../../web/style.css"),
    ),
    (
        "/app.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../web/app.js"),
    ),
    (
        "/bubbles.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../web/bubbles.js"),
    ),
    (
        "/msrp.js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../web/msrp.js"),
    ),
];

/// What the page is served with.
pub struct Page {
    settings: Bytes,
    policy: HeaderValue,
}

impl Page {
    /// `settings`: JSON that the page reads as `/dev.json`. `socket`: the WebSocket listener, the only place that its scripts
    /// may connect to.
    pub fn new(settings: String, socket: SocketAddr) -> Self {
        let policy = format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
             connect-src 'self' ws://{socket}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self {
            settings: settings.into(),
            policy: HeaderValue::try_from(policy).expect("a socket address is ASCII"),
        }
    }

    pub(super) fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let settings = ("/dev.json", "application/json", self.settings.clone());
        let files = FILES.map(|(path, kind, octets)| (path, kind, Bytes::from_static(octets)));
        let mut router = Router::new();
        for (path, kind, octets) in files.into_iter().chain([settings]) {
            let headers = self.headers(kind);
            router = router.route(path, get(async move || (headers, octets)));
        }
        router
    }

    fn headers(&self, kind: &'static str) -> [(HeaderName, HeaderValue); 6] {
        let fixed = HeaderValue::from_static;
        [
            (CONTENT_TYPE, fixed(kind)),
            (X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (CONTENT_SECURITY_POLICY, self.policy.clone()),
            (REFERRER_POLICY, fixed("no-referrer")),
            // No page of another origin has it as a script, a picture or a frame of its own.
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                fixed("same-origin"),
            ),
            // Another build may be next at this address.
            (CACHE_CONTROL, fixed("no-store")),
        ]
    }
}
