//! Closed label sets: a new value is one line here.

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in order.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The text of the label.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

labels!(
    /// MSRP method.
    MethodLabel {
        /// `SEND`
        Send = "SEND",
        /// `AUTH`
        Auth = "AUTH",
        /// `REPORT`
        Report = "REPORT",
        /// `NICKNAME`
        Nickname = "NICKNAME",
        /// Any other.
        Other = "other",
    }
);

labels!(
    /// As seen from the relay.
    Direction {
        /// Received.
        In = "in",
        /// Sent.
        Out = "out",
    }
);

labels!(
    /// Which way something passed a session.
    Along {
        /// Its holder sent it.
        Sent = "sent",
        /// It was on its way to the holder.
        Received = "received",
    }
);

labels!(
    /// Who made a REPORT.
    ReportOrigin {
        /// We did.
        Relay = "relay",
        /// Somebody else, and it passed.
        Forwarded = "forwarded",
    }
);

labels!(
    /// How octets travel.
    TransportLabel {
        /// TLS
        Tls = "tls",
        /// Plain TCP
        Tcp = "tcp",
        /// WebSocket over TLS
        Wss = "wss",
        /// WebSocket in clear
        Ws = "ws",
    }
);

labels!(
    /// What the other side of a connection is.
    RoleLabel {
        /// No successful request yet.
        Probation = "probation",
        /// Holds a session.
        Client = "client",
        /// Someone else's client: proven by a request that it got through, or dialled.
        Foreign = "foreign",
        /// A relay, by a verified certificate.
        Relay = "relay",
    }
);

labels!(
    /// What came of a look-up of a user.
    LookUpLabel {
        /// There is one.
        Found = "found",
        /// There is none.
        Unknown = "unknown",
        /// Nobody could tell, or not in time.
        Failed = "failed",
    }
);

labels!(
    /// Whom a quota is for.
    SubjectLabel {
        /// A user of a realm.
        User = "user",
        /// All users of a realm.
        Realm = "realm",
        /// An IPv4 address, or 64 bits of an IPv6 address.
        Prefix = "prefix",
        /// A balancer that speaks for itself.
        Balancer = "balancer",
    }
);

labels!(
    /// What a quota bounds.
    QuotaLabel {
        /// Sessions at the same time.
        Sessions = "sessions",
        /// Connections at the same time.
        Connections = "connections",
        /// AUTHs in a second.
        Auths = "auths_per_second",
        /// Messages in a second.
        Messages = "messages_per_second",
        /// Octets of bodies in a second.
        Octets = "octets_per_second",
        /// Octets of one message.
        MessageOctets = "message_octets",
    }
);

labels!(
    /// Why a failure was not told.
    DropReason {
        /// The sender asked not to hear of it.
        FailureReportNo = "failure_report_no",
        /// The connection that it would be told on is gone.
        SourceGone = "source_gone",
    }
);

labels!(
    /// Why a request or a connection was refused.
    RefusalReason {
        /// A head that breaks the grammar.
        Malformed = "malformed",
        /// An unknown, expired or misused token.
        NoSession = "no_session",
        /// The session's client is gone.
        ClientGone = "client_gone",
        /// The relay is shutting down.
        Draining = "draining",
        /// User, relay or target are not allowed.
        Forbidden = "forbidden",
        /// No answer in time, or no connection to the next hop.
        NextHopLost = "next_hop_lost",
        /// Too many connections being opened, of one user or of all (408).
        Dials = "dials",
        /// A bound of custody reached (413).
        Overload = "overload",
        /// It would make the relay remember more than it may (413, an AUTH 403).
        Memory = "memory",
        /// A content type that policy refuses (415).
        Content = "content",
        /// A method that policy refuses (501).
        Method = "method",
        /// What the next hop said, passed on.
        Downstream = "downstream",
        /// A To-Path that does not begin with us.
        NotOurs = "not_ours",
        /// Credentials that prove nothing.
        Credentials = "credentials",
        /// Too many AUTHs have failed, from there or for that user from there (408).
        AuthRate = "auth_rate",
        /// A user who could not be looked up (408).
        UserNotLookedUp = "user_not_looked_up",
        /// Expires outside the limits (423).
        Expires = "expires",
        /// An answer from elsewhere that asks for credentials of our realm (AUT-23).
        ForeignChallenge = "foreign_challenge",
        /// A URI that a peer may not claim, or not any more (D-34).
        Claim = "claim",
        /// No room for one more connection.
        TooManyConnections = "too_many_connections",
        /// The listener takes connections of its TLS terminators only.
        Source = "source",
    }
);

labels!(
    /// What was odd about a response that came in.
    OddResponse {
        /// 1xx: it is waited on for the final one.
        Provisional = "provisional",
        /// From-Path stands before To-Path, or other headers before them.
        Order = "order",
        /// Both paths as the request had them.
        Unswapped = "unswapped",
        /// To-Path does not begin with us.
        NotToUs = "not_to_us",
        /// To-Path of a response to SEND names more than the previous hop.
        WholePath = "whole_path",
        /// To-Path of a response that is to travel on names us alone.
        NoWayOn = "no_way_on",
        /// Its head breaks the grammar: its code counts, and nothing else of it.
        Malformed = "malformed",
        /// It has no path at all: dropped.
        NoPaths = "no_paths",
        /// Nothing is open with its transact-id, or not any more: dropped.
        Unmatched = "unmatched",
    }
);

labels!(
    /// Why a connection ended.
    CloseReason {
        /// No success within the probation time.
        Probation = "probation",
        /// The oldest on probation made room.
        Crowded = "crowded",
        /// Several failed requests, none successful.
        Failures = "failures",
        /// Too many connections of one source prefix.
        Quota = "quota",
        /// Several failed AUTHs.
        AuthFailures = "auth_failures",
        /// A request for somebody else.
        NotOurs = "not_ours",
        /// Framing lost.
        Framing = "framing",
        /// Too long a body in a request other than SEND.
        BodyTooLong = "body_too_long",
        /// AUTH without TLS.
        PlainAuth = "plain_auth",
        /// A message begun did not go on.
        TooSlow = "too_slow",
        /// Memory was short, and a request that had not come whole was more than its sender's part.
        Memory = "memory",
        /// Unused for too long.
        Idle = "idle",
        /// Unused for longest when there was no room for another.
        Shed = "shed",
        /// The other side ended it in good order.
        EndOfStream = "end_of_stream",
        /// Took nothing for too long.
        Stalled = "stalled",
        /// A relay's certificate is no longer good.
        Unverified = "unverified",
        /// The relay is shutting down.
        Drain = "drain",
        /// Its host acknowledged nothing, or answered no keepalive.
        Vanished = "vanished",
        /// Reset or lost.
        Lost = "lost",
        /// TLS failed.
        Tls = "tls",
        /// The dial failed.
        DialFailed = "dial_failed",
        /// The dial led to an address that is not allowed.
        DialDenied = "dial_denied",
        /// A balancer sent no PROXY header that can be read.
        ProxyHeader = "proxy_header",
        /// An HTTP request that did not become a WebSocket connection.
        NotUpgraded = "not_upgraded",
        /// A WebSocket client left pings unanswered.
        Unresponsive = "unresponsive",
    }
);
