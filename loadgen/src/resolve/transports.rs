//! By what clients come: the options' wishes, and whether relay and workload can fulfil them.

use std::net::SocketAddr;

use crate::dev::{Dev, DevVia};
use crate::options::Options;
use crate::plan::{Group, Shape, Transport};

use super::relays::look_up;

/// What is asked for, of all clients or of one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    pub both: Option<Transport>,
    pub sender: Option<Transport>,
    pub receiver: Option<Transport>,
}

impl Wishes {
    pub fn of_options(options: &Options) -> Self {
        Self {
            both: options.transport,
            sender: options.sender_transport,
            receiver: options.receiver_transport,
        }
    }

    /// Those of the command line stand behind these.
    pub fn or(self, options: &Options) -> Self {
        Self {
            both: self.both.or(options.transport),
            ..self
        }
    }

    /// The senders' and the receivers', for pairs of these shapes.
    pub fn resolve(
        self,
        options: &Options,
        shapes: &[Shape],
    ) -> Result<(Transport, Transport), String> {
        let by_default = match options.tcp.is_some() {
            true => Transport::Tcp,
            false => Transport::Tls,
        };
        let both = self.both.unwrap_or(by_default);
        let (sender, receiver) = (self.sender.unwrap_or(both), self.receiver.unwrap_or(both));
        let of_foreign = |is_foreign: fn(&Shape) -> bool, transport| {
            transport != Transport::Tcp || shapes.iter().any(is_foreign)
        };
        let sender_fits = of_foreign(|shape| !shape.sender_logs_in(), sender);
        let receiver_fits = of_foreign(|shape| !shape.receiver_logs_in(), receiver);
        let nobody = !sender_fits && !receiver_fits;
        if nobody
            || (!sender_fits && self.sender.is_some())
            || (!receiver_fits && self.receiver.is_some())
        {
            return Err(
                "who logs in cannot come by plain TCP, for AUTH needs TLS: take another transport, and leave --tcp out"
                    .into(),
            );
        }
        if self.receiver.is_some_and(Transport::is_web)
            && shapes.iter().all(|shape| shape.receiver_listens())
        {
            return Err(
                "a relay dials no WebSocket (RFC 7977 5.1): receivers that listen do so by TLS or TCP"
                    .into(),
            );
        }
        Ok((sender, receiver))
    }
}

/// The transports by which senders of these groups connect, and those by which receivers do.
pub fn used(groups: &[Group]) -> (Vec<Transport>, Vec<Transport>) {
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for group in groups {
        for shape in &group.shapes {
            senders.push(group.sender_transport.of(shape.sender_logs_in()));
            if !shape.receiver_listens() {
                receivers.push(group.receiver_transport.of(shape.receiver_logs_in()));
            }
        }
    }
    (senders, receivers)
}

/// Where the first relay listens. `used` is what clients come by.
pub fn addresses(
    options: &Options,
    dev: Option<&Dev>,
    used: &[Transport],
) -> Result<Addresses, String> {
    let main = options.address.clone();
    let own = |transport: Transport| match transport {
        // Without another one --address is for all that are in use.
        Transport::Tls => main.clone().or_else(|| Some(dev?.address.clone())),
        Transport::Tcp => options.tcp.clone(),
        Transport::Wss => options.wss.clone().or_else(|| dev?.wss.clone()),
        Transport::Ws => options.ws.clone().or_else(|| dev?.ws.clone()),
    };
    let any = Transport::ALL.into_iter().filter(|t| used.contains(t));
    let first = any.clone().find_map(own).or_else(|| main.clone());
    let Some(first) = first else {
        return Err(match dev {
            Some(_) => format!(
                "the relay of --dev does not say where it listens for {}: give --address, --wss or --ws",
                any.map(Transport::name).collect::<Vec<_>>().join(" and ")
            ),
            None => "which relay? Give --dev for the one of `cargo run --release -- dev`, or --address, --host, --ca and --user".into(),
        });
    };
    let mut all = [look_up(&first)?; 4];
    for transport in Transport::ALL {
        let by_default = || main.clone().filter(|_| transport != Transport::Tcp);
        match own(transport).or_else(by_default) {
            Some(text) => all[transport as usize] = look_up(&text)?,
            None if used.contains(&transport) => {
                return Err(format!(
                    "where does the relay listen for {0}? Give --{0} HOST:PORT",
                    match transport {
                        Transport::Tls => "address",
                        other => other.name(),
                    }
                ));
            }
            None => {}
        }
    }
    Ok(Addresses { all, first })
}

/// The second relay's, which `--via-address` gives for one transport.
pub fn one_address(address: &str, used: &[Transport]) -> Result<String, String> {
    match used.iter().all(|transport| *transport == used[0]) {
        true => Ok(address.to_owned()),
        false => Err(
            "--via-address is one listener: receivers of all groups must come by one transport"
                .into(),
        ),
    }
}

/// Those of the second relay that `msrpd dev --two` started.
pub fn via_addresses(via: &DevVia, used: &[Transport]) -> Result<[SocketAddr; 4], String> {
    let mut all = [look_up(&via.address)?; 4];
    for transport in Transport::ALL {
        let own = match transport {
            Transport::Tls | Transport::Tcp => Some(&via.address),
            Transport::Wss => via.wss.as_ref(),
            Transport::Ws => via.ws.as_ref(),
        };
        match own {
            Some(text) => all[transport as usize] = look_up(text)?,
            None if used.contains(&transport) => {
                return Err(format!(
                    "the second relay of --dev does not say where it listens for {}: give --via-address",
                    transport.name()
                ));
            }
            None => {}
        }
    }
    Ok(all)
}

pub struct Addresses {
    pub all: [SocketAddr; 4],
    /// As it was written, for the name of the relay.
    pub first: String,
}
