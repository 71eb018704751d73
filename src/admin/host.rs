//! Whom a request must be for: a page that a browser has loaded from elsewhere may point a name of its
//! own here (DNS rebinding), and reads what it likes unless the name is looked at.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Names and addresses that requests may be for.
#[derive(Clone, Debug)]
pub struct Hosts {
    bound: Option<IpAddr>,
    /// In lower case.
    names: Vec<String>,
}

impl Hosts {
    /// `bound`: the address that is listened on. `names`: the operator's.
    pub fn new(bound: Option<SocketAddr>, names: impl IntoIterator<Item = String>) -> Self {
        Self {
            bound: bound.map(|address| address.ip().to_canonical()),
            names: names
                .into_iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        }
    }

    /// `authority` as it stands in Host, with a port or without.
    fn has(&self, authority: &str) -> bool {
        let host = without_port(authority);
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            // No name can be pointed at an address. On all of them any is ours.
            return self.bound.is_none_or(|bound| {
                bound.is_unspecified()
                    || bound == ip.to_canonical()
                    || (bound.is_loopback() && ip.is_loopback())
            });
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match name.contains('.') {
            // A name of this machine or its network, such as a container's: no stranger has one in DNS.
            false => !name.is_empty(),
            true => name.ends_with(".localhost") || self.names.contains(&name),
        }
    }
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => {
            // An IPv6 address without brackets has no port.
            if host.contains(':') && !host.ends_with(']') {
                authority
            } else {
                host
            }
        }
        _ => authority,
    }
}

/// Answers 421 to who asks for somebody else. HTTP/1.0 without Host is let in: no browser speaks it.
pub(super) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let in_uri = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let mut fields = request.headers().get_all(header::HOST).iter();
    let (first, second) = (fields.next(), fields.next());
    let named = first.map(|field| field.to_str().unwrap_or_default());
    let stranger = [in_uri, named]
        .into_iter()
        .flatten()
        .find(|authority| !hosts.has(authority));
    if let (Some(host), _) | (None, Some(host)) = (stranger, second.map(|_| "two Host fields")) {
        let host: String = host
            .chars()
            .take(80)
            .flat_map(char::escape_default)
            .collect();
        tracing::info!(%host, "the admin port was asked for a host that is not among admin.hosts");
        let what = "this host is not served here; add it to [admin] hosts\n";
        return (StatusCode::MISDIRECTED_REQUEST, what).into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_localhost_the_bound_address_or_one_of_the_operators() {
        let names = || vec!["Metrics.Example.com".to_owned()];
        let hosts = |bound: &str| Hosts::new(Some(bound.parse().expect("an address")), names());
        let always = [
            "localhost",
            "msrpd:9855",
            "LOCALHOST:9855",
            "relay.localhost",
            "metrics.example.com:9855",
            "metrics.example.com.",
        ];
        for bound in ["127.0.0.1:9855", "[::]:9855", "192.0.2.1:9855"] {
            for host in always {
                assert!(hosts(bound).has(host), "{bound} {host}");
            }
            for host in [
                "evil.example",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "",
                ":9855",
                "example.com",
            ] {
                assert!(!hosts(bound).has(host), "{bound} {host}");
            }
        }
        for (bound, host, served) in [
            ("127.0.0.1:9855", "127.0.0.1:9855", true),
            ("127.0.0.1:9855", "[::1]:9855", true),
            ("127.0.0.1:9855", "192.0.2.1:9855", false),
            ("192.0.2.1:9855", "192.0.2.1", true),
            ("192.0.2.1:9855", "192.0.2.2", false),
            ("0.0.0.0:9855", "192.0.2.2:9855", true),
            ("[::]:9855", "192.0.2.2", true),
            ("[::]:9855", "[2001:db8::1]:9855", true),
            ("[2001:db8::1]:9855", "[2001:db8::1]", true),
            ("[2001:db8::1]:9855", "2001:db8::1", true),
            ("[2001:db8::1]:9855", "[2001:db8::2]", false),
        ] {
            assert_eq!(hosts(bound).has(host), served, "{bound} {host}");
        }
    }
}
