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
        Send = "SEND",
        Auth = "AUTH",
        Report = "REPORT",
        Nickname = "NICKNAME",
        Other = "other",
    }
);

labels!(
    /// As seen from the relay.
    Direction {
        In = "in",
        Out = "out",
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
        Tls = "tls",
        Tcp = "tcp",
        Wss = "wss",
        Ws = "ws",
    }
);

labels!(
    /// What the other side of a connection is.
    RoleLabel {
        Probation = "probation",
        Client = "client",
        Foreign = "foreign",
        Relay = "relay",
    }
);

labels!(
    /// Why a failure was not told.
    DropReason {
        FailureReportNo = "failure_report_no",
        SourceGone = "source_gone",
    }
);

labels!(
    /// Why a request was refused, a source paused or a transaction forgotten.
    RefusalReason {
        Malformed = "malformed",
        NoSession = "no_session",
        ClientGone = "client_gone",
        Draining = "draining",
        Forbidden = "forbidden",
        NextHopLost = "next_hop_lost",
        Overload = "overload",
        Content = "content",
        Method = "method",
        Downstream = "downstream",
        NotOurs = "not_ours",
        Credentials = "credentials",
        Expires = "expires",
        PartialForgotten = "partial_forgotten",
        Paused = "paused",
        TooManyConnections = "too_many_connections",
    }
);

labels!(
    /// Why a connection ended.
    CloseReason {
        Probation = "probation",
        Crowded = "crowded",
        Failures = "failures",
        AuthFailures = "auth_failures",
        NotOurs = "not_ours",
        Framing = "framing",
        BodyTooLong = "body_too_long",
        PlainAuth = "plain_auth",
        TooSlow = "too_slow",
        Idle = "idle",
        EndOfStream = "end_of_stream",
        Stalled = "stalled",
        Drain = "drain",
        Lost = "lost",
        Tls = "tls",
        DialFailed = "dial_failed",
        DialDenied = "dial_denied",
    }
);
