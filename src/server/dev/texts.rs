//! What the files of the folder say.

use super::Kind;

/// The configuration of one relay, whose ports come so much `after` the usual ones.
pub(super) fn config(name: &str, hosts: &[&str], kind: Kind, after: u16) -> String {
    let [port, web, admin] = [2855, 2880, 9855].map(|first| first + after);
    // They are of one realm, and clients may AUTH at the one through the other.
    let peers = match kind {
        Kind::One => "",
        Kind::Two => "\n[peers]\nallow = [\"relay-a.localhost\", \"relay-b.localhost\"]\n",
    };
    let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    let hosts = hosts.join(", ");
    format!(
        r#"# Made by `msrpd dev`, for this machine only; change what you like, it is kept.
# All keys: msrpd.sample.toml

[relay]
hosts = [{hosts}]
drain_timeout = "5s"

[[listen]]
address = "127.0.0.1:{port}"
transport = "tls"

# Browsers: http://127.0.0.1:{admin}/ is a chat by this listener.
[[listen]]
address = "127.0.0.1:{web}"
transport = "ws"

[tls]
certificate = "{name}.pem"
key = "{name}.key"
peer_ca = "ca.pem"
{peers}
[auth]
realm = "relay.localhost"
htdigest = "users.htdigest"

[dial]
allow = ["127.0.0.0/8", "::1/128"]

[admin]
address = "127.0.0.1:{admin}"
"#
    )
}

/// `dev.toml`, with the users last.
pub(super) fn dev(kind: Kind, users: &str) -> String {
    let (host, pid) = match kind {
        Kind::One => ("relay.localhost", "msrpd.pid"),
        Kind::Two => ("relay-a.localhost", "relay-a.pid"),
    };
    let mut text = format!(
        r#"# By this file `msrpload --dev` finds the relay. Paths are relative to this folder.
address = "127.0.0.1:2855"
ws = "127.0.0.1:2880"
host = "{host}"
realm = "relay.localhost"
admin = "127.0.0.1:9855"
ca = "ca.pem"
pid = "{pid}"
# For receivers that listen themselves: a certificate of the same authority for localhost.
certificate = "receiver.pem"
key = "receiver.key"
"#
    );
    if kind == Kind::Two {
        text.push_str(
            r#"
# The second relay: `msrpload --dev --via` sends through both. It knows the same users.
[via]
address = "127.0.0.1:2856"
ws = "127.0.0.1:2881"
host = "relay-b.localhost"
realm = "relay.localhost"
admin = "127.0.0.1:9856"
pid = "relay-b.pid"
"#,
        );
    }
    text.push_str(users);
    text
}

/// A user as `dev.toml` lists it.
pub(super) fn user(name: &str, password: &str) -> String {
    format!("\n[[users]]\nname = \"{name}\"\npassword = \"{password}\"\n")
}
