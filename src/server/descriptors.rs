//! File descriptors: raises the soft limit to the hard one, and says how many connections fit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Descriptors that are not for connections: listeners, rings, the admin port, name servers, files.
const SPARE: u64 = 256;

/// How many descriptors this process may have at most.
pub fn hard_limit() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the soft limit as far as it goes. A failure is of no account: the limit in force is then the soft one, and
/// [`connections`] was computed from the hard one, so accepting pauses earlier.
pub fn raise() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
}

/// The number of connections that `config` wants, or what to do if they do not fit.
pub fn connections(config: &Config, hard_limit: u64) -> Result<usize, (String, String)> {
    let room = hard_limit.saturating_sub(SPARE);
    let wanted = u64::from(config.limits.connections);
    if room == 0 {
        return Err((
            format!("limits.connections: this process may have {hard_limit} file descriptors only"),
            format!(
                "raise the limit of file descriptors (LimitNOFILE= in the unit, ulimit -Hn) above {SPARE}"
            ),
        ));
    }
    if wanted > room {
        return Err((
            format!(
                "limits.connections: {wanted} connections do not fit into {hard_limit} file descriptors"
            ),
            format!(
                "raise the limit of file descriptors (LimitNOFILE= in the unit, ulimit -Hn) to {}, or write at most {room}, or 0",
                wanted + SPARE
            ),
        ));
    }
    let connections = if wanted == 0 { room } else { wanted };
    // An unlimited hard limit must not become an unlimited table.
    Ok(usize::try_from(connections.min(1 << 24)).unwrap_or(1 << 24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_to_fit_into_the_descriptors() {
        let mut config = Config::default();
        assert_eq!(connections(&config, 1024), Ok(768), "0 is all that fit");
        config.limits.connections = 768;
        assert_eq!(connections(&config, 1024), Ok(768));
        config.limits.connections = 769;
        let (what, help) = connections(&config, 1024).expect_err("one too many");
        assert!(
            what.contains("769") && help.contains("1025"),
            "{what}; {help}"
        );
        assert!(connections(&config, 256).is_err());
        config.limits.connections = 0;
        assert_eq!(connections(&config, u64::MAX), Ok(1 << 24));
    }
}
