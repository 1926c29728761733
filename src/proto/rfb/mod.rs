//! The RFB handshake, from the first byte until the relay starts.
//!
//! [`Negotiation`] plays both roles at once: the RFB client towards the compute node, the RFB server
//! towards the tenant. It ends with [`Progress::Established`], whose [`Residue`] holds what either side
//! sent past the handshake, or with an [`RfbError`]. What comes behind (`ClientInit`, `ServerInit`, the
//! screen) is the relay's, which moves bytes and knows nothing of RFB.
//!
//! Sources: RFC 6143 section 7.1; the community text "The RFB Protocol" (rfbproto.rst); the order of the
//! steps and the texts a tenant sees are those of nova/console/securityproxy/rfb.py.
//!
//! `VeNCrypt` is spoken up to the first byte of TLS and again inside it ([`Progress::StartTls`]); TLS itself is
//! [`proto::tls`](crate::proto::tls)'s, and the session brings the two together.
//!
//! Out of scope here: the time limits themselves (the session keeps the clock and reports
//! [`Negotiation::timed_out`]), WebSocket framing (each [`Transmit`] to the tenant is one message), and
//! tenants that speak only RFB 3.3 or 3.7, which Nova refuses as well.

mod compute;
mod error;
mod inbox;
mod message;
mod negotiation;
mod note;
mod progress;
mod reason;
mod security;
mod step;
mod tenant;
mod vencrypt;
mod version;
mod vncauth;

pub use error::RfbError;
pub use message::{Message, Transmit};
pub use negotiation::{
    COMPUTE_HELD_BYTES_MAX, Extras, Negotiation, TENANT_EARLY_BYTES_MAX, TENANT_HELD_BYTES_MAX,
};
pub use note::Note;
pub use progress::{Progress, Residue};
pub use reason::{REASON_BYTES_MAX, Reason};
pub use security::{AuthScheme, SecurityType, SecurityTypes};
pub use step::Step;
pub use vencrypt::{Subtype, Subtypes};
pub use version::ProtocolVersion;
pub use vncauth::{VncPassword, VncPasswordSlot};
