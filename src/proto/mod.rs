//! Sans-IO protocol machines: bytes in, bytes out.
//!
//! Nothing here touches a socket, a clock, a thread or a log. Each machine takes bytes in whatever
//! pieces they arrive, bounds what it keeps, and hands over unread bytes untouched.

pub mod bytes;
pub mod http;
pub mod kernel_tls;
pub mod proxy_header;
pub mod rfb;
pub mod tls;
pub mod ws;

/// The two ends of a session, by Nova's names (`tenant_sock`, `compute_sock`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The browser's side
    Tenant,
    /// The hypervisor's side
    Compute,
}

impl Side {
    /// The opposite side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Tenant => Self::Compute,
            Self::Compute => Self::Tenant,
        }
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tenant => "tenant",
            Self::Compute => "compute",
        })
    }
}
