//! No certificate authorities.
//!
//! sqlx trusts whom this crate lists *beside* the authority that the operator names (`ssl_ca`, `sslrootcert`),
//! and its features offer no way out. Where names are not checked, which `ssl_check_hostname = false` asks for,
//! any holder of a public certificate could then pose as the database. With an empty list it is the named
//! authority alone, as with PyMySQL and libpq. The system's authorities, where they are wanted, are read from
//! the system (`control/sql/authorities.rs`).

#![no_std]
#![forbid(unsafe_code)]

use rustls_pki_types::TrustAnchor;

/// Nobody.
pub const TLS_SERVER_ROOTS: &[TrustAnchor<'static>] = &[];
