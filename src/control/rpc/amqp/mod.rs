//! AMQP 0-9-1 through lapin: one connection, two channels, our own time limits.
//!
//! lapin's automatic recovery stays off: which broker is next, when, and what becomes of calls in flight is
//! decided in [`super::bus`].

mod connection;
mod gate;
mod kit;
mod stream;
mod tls;
mod topology;

use thiserror::Error;

pub(super) use connection::{Connection, Event, Publisher, acknowledge, connect, short};
pub(super) use topology::Topology;

/// Why a broker cannot be used. No text holds credentials.
#[derive(Clone, Debug, Error)]
pub(super) enum AmqpError {
    /// The broker said no to our login, virtual host or declarations: it will say so again.
    #[error("{0}")]
    Refused(String),
    /// It sent what we do not read, and will send it again: it is not acknowledged.
    #[error("{0}")]
    Unreadable(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl AmqpError {
    fn of(error: &lapin::Error) -> Self {
        match error.kind() {
            lapin::ErrorKind::ProtocolError(said) => {
                let text = super::envelope::shortened(said.get_message().as_str());
                let text = format!("{} {text}", said.get_id());
                // ACCESS_REFUSED, NOT_ALLOWED (no such vhost)
                if matches!(said.get_id(), 403 | 530) { Self::Refused(text) } else { Self::Failed(text) }
            }
            // Only the gate says this.
            lapin::ErrorKind::IOError(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Self::Unreadable(error.to_string())
            }
            lapin::ErrorKind::IOError(error) => Self::Failed(error.to_string()),
            lapin::ErrorKind::MissingHeartbeatError => {
                Self::Failed("the broker sent nothing for two heartbeats".to_owned())
            }
            _ => Self::Failed(super::envelope::shortened(&error.to_string())),
        }
    }
}

/// The reply code of a broker that closed a channel or the connection.
fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        lapin::ErrorKind::ProtocolError(said) => Some(said.get_id()),
        _ => None,
    }
}
