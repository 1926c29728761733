//! The message bus (`oslo_messaging`).

use super::{DEFAULT, OptionDef, option};
use crate::control::config::values::{ANY_INT, Kind};

const NO_BUS: &str = "this build has no message bus client";

pub(super) static DECLARED: &[OptionDef] = &[
    option(DEFAULT, "transport_url", Kind::Str, "Message bus of the cell")
        .default("rabbit://")
        .secret()
        .no_effect(NO_BUS),
    option(DEFAULT, "rpc_response_timeout", ANY_INT, "Seconds to wait for the port check").default("60"),
];
