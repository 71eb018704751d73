//! msrpload: load generator for RFC 4976 relays.
