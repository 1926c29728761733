//! What is spoken with computes' VNC servers beyond what Nova speaks.

use std::path::PathBuf;

use super::{OWN, Read};

/// The options of that, all off by default.
#[derive(Clone, Debug, Default)]
pub struct VncConfig {
    /// `[consolegate] vnc_password_file`, absolute
    pub password_file: Option<PathBuf>,
    /// `[consolegate] vnc_password_in_clear`
    pub password_in_clear: bool,
    /// `[consolegate] allow_rfb_33`
    pub rfb_33: bool,
}

pub(super) fn settings(read: &Read<'_>, warnings: &mut Vec<String>) -> VncConfig {
    let config = VncConfig {
        password_file: read.path(OWN, "vnc_password_file"),
        password_in_clear: read.is_on(OWN, "vnc_password_in_clear"),
        rfb_33: read.is_on(OWN, "allow_rfb_33"),
    };
    let listed = read.list("vnc", "auth_schemes").iter().any(|scheme| scheme == "vencrypt");
    if config.password_in_clear && config.password_file.is_none() {
        warnings.push(
            "[consolegate] vnc_password_in_clear is set, but vnc_password_file is not: there is no password."
                .to_owned(),
        );
    }
    if config.password_file.is_some() && !config.password_in_clear && !listed {
        warnings.push(
            "[consolegate] vnc_password_file is set, but is not used: [vnc] auth_schemes does not list vencrypt, and \
             vnc_password_in_clear is off."
                .to_owned(),
        );
    }
    config
}
