//! HTTP/1.1 as a console proxy needs it (RFC 9112, RFC 6455 section 4).
//!
//! One request goes through here in this order:
//!
//! 1. [`HeadParser`] turns the bytes of a head into a [`Request`], or into a [`RequestError`]. Bytes
//!    behind the head belong to the caller and are never looked at.
//! 2. [`upgrade::decide`] says what the request is: a WebSocket opening handshake, a request for a web
//!    file, or something to refuse. Only [`Upgrade::Static`] leaves the connection usable for a next head.
//! 3. A handshake goes on with [`token::find`] and [`origin::check`]; a web file with [`WebPath`],
//!    [`conditional::evaluate`] and [`response::file_head`].
//!
//! [`connect`] is the other direction: the CONNECT preamble that some compute nodes want first.
//!
//! Not done here: request bodies (refused), chunked coding, trailers, ranges, proxying. Nothing is
//! logged; whatever a request carries stays out of `Debug` and of every error text.

mod authority;
pub mod conditional;
pub mod connect;
mod cookie;
mod encoding;
mod head;
mod headers;
mod media_type;
pub mod origin;
mod query;
mod redirect;
mod request;
pub mod response;
mod status;
pub mod token;
pub mod upgrade;
mod webpath;

pub use conditional::FileMeta;
pub use encoding::accepts_gzip;
pub use head::{HeadLimits, HeadParser, RequestError};
pub use media_type::media_type;
pub use origin::OriginPolicy;
pub use redirect::redirect_to_directory;
pub use request::{Method, Request};
pub use status::Status;
pub use upgrade::{Upgrade, UpgradePolicy};
pub use webpath::{PathError, WebPath};
