//! Settings that contradict each other: each may stand in a file, together they cannot be meant.

use std::time::Duration;

use super::model::{AdminAddress, Algorithm, Config, Listen, Transport};
use super::problem::Problems;
use super::reader::Places;
use super::setting::RelayHost;

/// Notes every contradiction in `config`.
pub fn judge(config: &Config, places: &Places, problems: &mut Problems) {
    names(config, places, problems);
    listeners(config, places, problems);
    tls(config, places, problems);
    auth(config, places, problems);
    peers(config, places, problems);
    limits(config, places, problems);
    quotas(config, places, problems);
    admin(config, places, problems);
    records(config, places, problems);
}

fn names(config: &Config, places: &Places, problems: &mut Problems) {
    let hosts = &config.relay.hosts;
    let place = places.of("relay.hosts");
    if hosts.is_empty() && places.has("relay.hosts") {
        problems.error(
            place,
            "relay.hosts: empty",
            "name at least one host: Use-Path URIs need it",
        );
    }
    if let Some(twice) = repeated(hosts) {
        problems.error(
            place,
            format!("relay.hosts: `{twice}` stands there twice"),
            "remove one",
        );
    }
    if let Some(RelayHost::Address(address)) = hosts.first() {
        let what = format!("relay.hosts: `{address}` is an address and stands first");
        problems.error(
            place,
            what,
            "put a name first: it goes into Use-Path and stands in the certificate (RFC 4976, 9.2)",
        );
    }
    for (index, name) in hosts
        .iter()
        .enumerate()
        .filter_map(|(index, host)| Some((index, host.name()?)))
    {
        if name.as_str() == "localhost" && index == 0 {
            let help = "whoever resolves this name reaches itself, not this relay; good for trying things out only";
            problems.warning(
                place,
                "relay.hosts: `localhost` in Use-Path cannot be reached from elsewhere",
                help,
            );
        } else if name.as_str() != "localhost" && !name.as_str().contains('.') {
            let what = format!("relay.hosts: `{name}` has no dot");
            problems.error(
                place,
                what,
                "write the fully qualified name: it goes into Use-Path (RFC 4976, 4.2)",
            );
        }
    }
    let place = places.of("relay.domains");
    if let Some(twice) = repeated(&config.relay.domains) {
        problems.error(
            place,
            format!("relay.domains: `{twice}` stands there twice"),
            "remove one",
        );
    }
    if let Some(both) = config
        .relay
        .domains
        .iter()
        .find(|domain| hosts.iter().any(|host| host.name() == Some(domain)))
    {
        let help = "a host is accepted in AUTH anyway; remove it from domains";
        problems.warning(
            place,
            format!("relay.domains: `{both}` is among hosts too"),
            help,
        );
    }
}

fn listeners(config: &Config, places: &Places, problems: &mut Problems) {
    for (index, listen) in config.listen.iter().enumerate() {
        let place = places.of(&format!("listen[{index}].address"));
        for earlier in &config.listen[..index] {
            if earlier.address == listen.address && listen.address.port() != 0 {
                let what = format!(
                    "listen[{index}].address: {} is listened on already",
                    listen.address
                );
                problems.error(
                    place,
                    what,
                    "remove one of the two [[listen]], or change its port",
                );
            } else if earlier.address.port() == listen.address.port()
                && earlier.address.is_ipv4() == listen.address.is_ipv4()
                && earlier.address.ip().is_unspecified() != listen.address.ip().is_unspecified()
                && earlier.transport != listen.transport
            {
                let what = format!(
                    "listen[{index}].address: {} and {} overlap",
                    earlier.address, listen.address
                );
                problems.error(
                    place,
                    what,
                    "two transports cannot share a port; change one of them",
                );
            }
        }
        web_listener(index, listen, places, problems);
        let place = places.of(&format!("listen[{index}].advertise_port"));
        match listen.advertise_port {
            Some(0) => {
                problems.error(
                    place,
                    format!("listen[{index}].advertise_port: 0 is no port"),
                    "name the port that clients reach",
                );
            }
            Some(_) if listen.transport != Transport::Tls => {
                let help = "only the port of a tls listener goes into Use-Path; remove it here";
                problems.warning(
                    place,
                    format!("listen[{index}].advertise_port: has no effect"),
                    help,
                );
            }
            _ => {}
        }
        if listen
            .proxy_protocol_from
            .iter()
            .any(|network| network.prefix_len() == 0)
        {
            problems.warning(
                places.of(&format!("listen[{index}].proxy_protocol_from")),
                format!(
                    "listen[{index}].proxy_protocol_from: whoever connects can claim any address"
                ),
                "name the addresses of your balancers",
            );
        }
    }
    if !config
        .listen
        .iter()
        .any(|listen| listen.transport == Transport::Tls)
    {
        let help = "add a [[listen]] with transport = \"tls\": Use-Path URIs lead to it, and AUTH needs TLS (RFC 4976, 9.2)";
        problems.error(places.of("listen"), "listen: no tls listener", help);
    }
}

/// What only WebSocket listeners have, and what they need.
fn web_listener(index: usize, listen: &Listen, places: &Places, problems: &mut Problems) {
    let of = |key: &str| places.of(&format!("listen[{index}].{key}"));
    let is_web = matches!(listen.transport, Transport::Wss | Transport::Ws);
    if !is_web && !listen.origins.is_empty() {
        problems.warning(
            of("origins"),
            format!("listen[{index}].origins: has no effect"),
            "remove it; only listeners for wss and ws are told an origin",
        );
    }
    if listen.transport != Transport::Ws && !listen.tls_terminated_by.is_empty() {
        problems.warning(
            of("tls_terminated_by"),
            format!("listen[{index}].tls_terminated_by: has no effect"),
            "remove it; only ws stands behind a server that ends TLS",
        );
    }
    let is_open = listen.transport == Transport::Ws
        && !listen.address.ip().is_loopback()
        && listen.only_from().is_empty();
    if is_open {
        problems.error(
            of("transport"),
            format!("listen[{index}].transport: ws would carry passwords' digests and messages in clear"),
            "name the servers that end TLS in tls_terminated_by (or proxy_protocol_from), listen on loopback, or use wss (RFC 7977, 9)",
        );
    }
}

fn tls(config: &Config, places: &Places, problems: &mut Problems) {
    let tls = &config.tls;
    match (&tls.certificate, &tls.key) {
        (Some(_), None) => problems.error(
            places.of("tls.certificate"),
            "tls.key: missing although there is a certificate",
            "add key = \"...\" below [tls]: the PEM file with the private key",
        ),
        (None, Some(_)) => problems.error(
            places.of("tls.key"),
            "tls.certificate: missing although there is a key",
            "add certificate = \"...\" below [tls]: the PEM file with the chain, leaf first",
        ),
        (None, None) if config.listen.iter().any(|listen| listen.transport.is_encrypted()) => problems.error(
            places.of("tls"),
            "tls: a tls listener needs a certificate and a key",
            "add [tls] with certificate = \"...\" and key = \"...\"; `msrpd dev` makes a set for trying things out",
        ),
        _ => {}
    }
    if !tls.extra.is_empty() && tls.certificate.is_none() {
        let help = "add certificate and key below [tls]: the ones for clients that ask for no name, or an unknown one";
        problems.error(
            places.of("tls.extra"),
            "tls.extra: there is no certificate that these could be further to",
            help,
        );
    }
    for (index, extra) in tls.extra.iter().enumerate() {
        let is_default = tls.certificate.as_ref() == Some(&extra.certificate);
        let mut earlier = tls.extra[..index].iter();
        if is_default || earlier.any(|earlier| earlier.certificate == extra.certificate) {
            let key = format!("tls.extra[{index}].certificate");
            let what = format!("{key}: {} is named already", extra.certificate.display());
            problems.error(places.of(&key), what, "remove this [[tls.extra]]");
        }
    }
}

fn auth(config: &Config, places: &Places, problems: &mut Problems) {
    let auth = &config.auth;
    if auth.expires_min > auth.expires_max {
        let what = format!(
            "auth.expires_min: {} is more than expires_max, {}",
            auth.expires_min, auth.expires_max
        );
        problems.error(
            places.of("auth.expires_min"),
            what,
            "no Expires could be granted; lower it or raise expires_max",
        );
    } else if !(auth.expires_min..=auth.expires_max).contains(&auth.expires_default) {
        let what = format!(
            "auth.expires_default: {} is not between expires_min, {}, and expires_max, {}",
            auth.expires_default, auth.expires_min, auth.expires_max
        );
        problems.error(
            places.of("auth.expires_default"),
            what,
            "choose a value between the two",
        );
    }
    let place = places.of("auth.algorithms");
    match auth.algorithms.as_slice() {
        [] => problems.error(
            place,
            "auth.algorithms: empty",
            "offer at least one: [\"MD5\"] is what clients know",
        ),
        [Algorithm::Md5, Algorithm::Sha256] => problems.error(
            place,
            "auth.algorithms: MD5 stands before SHA-256",
            "write [\"SHA-256\", \"MD5\"]: clients take the first that they know (RFC 8760, 2.3)",
        ),
        [first, second] if first == second => {
            problems.error(place, "auth.algorithms: the same one twice", "remove one");
        }
        [_, _, _, ..] => problems.error(
            place,
            "auth.algorithms: there are only two",
            "write [\"SHA-256\", \"MD5\"]",
        ),
        _ => {}
    }
    for name in auth.realms.keys() {
        if !config
            .relay
            .hosts
            .iter()
            .any(|host| host.name() == Some(name))
            && !config.relay.domains.contains(name)
        {
            let what =
                format!("auth.realms: `{name}` is neither in relay.hosts nor in relay.domains");
            problems.error(
                places.of("auth.realms"),
                what,
                "no client can address it; add it there or remove it here",
            );
        }
    }
    if let Some(twice) = repeated(&auth.shared_secret_files) {
        let what = format!(
            "auth.shared_secret_files: {} stands there twice",
            twice.display()
        );
        problems.error(places.of("auth.shared_secret_files"), what, "remove one");
    }
    users(config, places, problems);
    postgres(config, places, problems);
    if auth.htdigest.is_none()
        && auth.shared_secret_files.is_empty()
        && auth.users.is_empty()
        && !auth.postgres.is_used()
    {
        let help = "add htdigest = \"users.htdigest\" below [auth]; `msrpd passwd FILE REALM USER` writes it";
        problems.warning(
            places.of("auth"),
            "auth.htdigest: no users' file, so nobody can AUTH",
            help,
        );
    }
}

fn users(config: &Config, places: &Places, problems: &mut Problems) {
    for (index, user) in config.auth.users.iter().enumerate() {
        let at = format!("auth.users[{index}]");
        let place = places.of(&at);
        let plain = [user.password.is_some(), user.password_file.is_some()];
        let hashed = user.ha1.is_some() || user.ha1_sha256.is_some();
        match (plain, hashed) {
            ([false, false], false) => problems.error(
                place,
                format!("{at}: a user without a password"),
                "add password_file = \"...\", or ha1 = \"...\" as `msrpd passwd` writes it",
            ),
            ([true, true], _) | ([true, _], true) | ([_, true], true) => problems.error(
                place,
                format!("{at}: more than one password"),
                "keep one of password, password_file and ha1 (with or without ha1_sha256)",
            ),
            _ => {}
        }
        let same = |other: &super::model::User| {
            other.name.is_some() && other.name == user.name && other.realm == user.realm
        };
        if config.auth.users[..index].iter().any(same) {
            problems.error(
                place,
                format!("{at}: this user stands there twice"),
                "remove one",
            );
        }
    }
}

fn postgres(config: &Config, places: &Places, problems: &mut Problems) {
    let postgres = &config.auth.postgres;
    let place = |key: &str| places.of(&format!("auth.postgres.{key}"));
    if postgres.url.is_some() && postgres.url_file.is_some() {
        problems.error(
            place("url"),
            "auth.postgres.url: there is a url_file too",
            "keep one of the two",
        );
    }
    let default = super::model::Postgres::default();
    if !postgres.is_used() && (postgres.ca.is_some() || postgres.query != default.query) {
        problems.error(
            places.of("auth.postgres"),
            "auth.postgres: no URL, so no database is asked",
            "add url_file = \"...\" below [auth.postgres], or remove the section",
        );
    }
    for parameter in ["$1", "$2"] {
        if !has_parameter(&postgres.query, parameter) {
            problems.error(
                place("query"),
                format!("auth.postgres.query: {parameter} does not stand in it"),
                "$1 is the user's name and $2 the realm; without either it finds anybody",
            );
        }
    }
}

/// `$1` is no part of `$10`.
fn has_parameter(query: &str, parameter: &str) -> bool {
    query.match_indices(parameter).any(|(at, _)| {
        let next = query.as_bytes().get(at + parameter.len());
        !next.is_some_and(u8::is_ascii_digit)
    })
}

fn peers(config: &Config, places: &Places, problems: &mut Problems) {
    if let Some(both) = config
        .peers
        .allow
        .iter()
        .find(|name| config.peers.block.contains(name))
    {
        let what = format!("peers.block: `{both}` is in peers.allow too");
        problems.error(
            places.of("peers.block"),
            what,
            "remove it from one of the two",
        );
    }
}

fn quotas(config: &Config, places: &Places, problems: &mut Problems) {
    let kinds = [
        ("user", &config.quotas.user),
        ("realm", &config.quotas.realm),
        ("prefix", &config.quotas.prefix),
        ("balancer", &config.quotas.balancer),
    ];
    for (kind, quota) in kinds {
        if quota.is_too_slow() {
            let key = format!("quotas.{kind}.octets_per_second");
            let what = format!("{key}: {} is too slow", quota.octets_per_second);
            let help = "a single read brings more; 16384 is the least, 0 no bound";
            problems.error(places.of(&key), what, help);
        }
    }
    for (kind, quota) in &kinds[..1] {
        let (of_one, of_all) = (quota.sessions, config.quotas.realm.sessions);
        if of_all != 0 && of_one > of_all {
            let key = format!("quotas.{kind}.sessions");
            let what = format!("{key}: {of_one} is more than quotas.realm.sessions, {of_all}");
            problems.error(
                places.of(&key),
                what,
                "one user may have at most what all have",
            );
        }
    }
}

fn limits(config: &Config, places: &Places, problems: &mut Problems) {
    let limits = &config.limits;
    if limits.queued_octets_per_session > limits.queued_octets_shared {
        let what = format!(
            "limits.queued_octets_per_session: {} is more than queued_octets_shared, {}",
            limits.queued_octets_per_session, limits.queued_octets_shared
        );
        let help = "a session on a shared source may hold at least what one alone may";
        problems.error(places.of("limits.queued_octets_per_session"), what, help);
    }
    if limits.queued_octets_shared > limits.queued_octets_total {
        let what = format!(
            "limits.queued_octets_shared: {} is more than queued_octets_total, {}",
            limits.queued_octets_shared, limits.queued_octets_total
        );
        problems.error(
            places.of("limits.queued_octets_shared"),
            what,
            "lower it, or raise queued_octets_total",
        );
    }
    if limits.connections != 0 && limits.unauthenticated as u64 > u64::from(limits.connections) {
        let what = format!(
            "limits.unauthenticated: {} is more than connections, {}",
            limits.unauthenticated, limits.connections
        );
        let help = "strangers could take every connection; lower it";
        problems.error(
            places
                .of("limits.unauthenticated")
                .or(places.of("limits.connections")),
            what,
            help,
        );
    }
    if config.dial.connect_timeout > Duration::from_secs(25) {
        let help = "the previous hop gives up after 30 s (RFC 4975, 7.2)";
        problems.warning(
            places.of("dial.connect_timeout"),
            "dial.connect_timeout: close to the hop timer",
            help,
        );
    }
}

fn admin(config: &Config, places: &Places, problems: &mut Problems) {
    let AdminAddress::At(address) = config.admin.address else {
        return;
    };
    let place = places.of("admin.address");
    if let Some(listen) = config
        .listen
        .iter()
        .find(|listen| listen.address == address && address.port() != 0)
    {
        let what = format!(
            "admin.address: {} is a [[listen]] address too",
            listen.address
        );
        problems.error(place, what, "choose another port for one of them");
    }
    if !address.ip().is_loopback() {
        let help = "anyone who reaches it can read the metrics; prefer 127.0.0.1, or see to it with a firewall";
        problems.warning(
            place,
            format!("admin.address: {address} is not a loopback address"),
            help,
        );
    }
}

fn records(config: &Config, places: &Places, problems: &mut Problems) {
    if config.records.file.is_some() && config.records.socket.is_some() {
        problems.error(
            places.of("records.socket"),
            "records.socket: there is a file too",
            "keep one of the two",
        );
    }
}

fn repeated<T: PartialEq>(names: &[T]) -> Option<&T> {
    names
        .iter()
        .enumerate()
        .find(|(index, name)| names[..*index].contains(name))
        .map(|(_, name)| name)
}
