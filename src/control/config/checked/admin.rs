//! The admin listener's options.

use std::path::PathBuf;

use super::{AdminSettings, Exit, OWN, Read};

pub(super) fn settings(read: &Read<'_>) -> Result<AdminSettings, Exit> {
    let listen = match read.text(OWN, "admin_listen") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Exit::config(format!(
                "[consolegate] admin_listen: {text} is not an address and a port such as 127.0.0.1:9680"
            ))
        })?),
    };
    Ok(AdminSettings {
        socket: path(read, "admin_socket")?,
        // Where nobody asked for the socket, a machine without its directory is nothing to complain of.
        socket_wanted: read.0.is_configured(OWN, "admin_socket"),
        listen,
        disable_file: path(read, "healthcheck_disable_file")?,
        strict: read.is_on(OWN, "strict_readiness"),
    })
}

/// Absolute: a daemon changes its directory.
fn path(read: &Read<'_>, name: &str) -> Result<Option<PathBuf>, Exit> {
    let path = read.text(OWN, name).map(std::path::absolute).transpose();
    path.map_err(|error| Exit::config(format!("[consolegate] {name}: can not tell where that is: {error}")))
}
