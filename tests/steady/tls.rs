//! A proxy with a certificate, and tenants who trust it.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use consolegate::session::TlsSettings;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use crate::client::{Client, tcp};
use crate::harness::Proxy;

pub(crate) type Tenant = Client<StreamOwned<ClientConnection, TcpStream>>;

/// A proxy's certificate, and what a tenant needs who trusts it.
pub(crate) fn ends() -> (TlsSettings, Arc<ClientConfig>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let served = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let tls = TlsSettings::default();
    tls.acceptor.replace(Some(Arc::new(served)));

    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (tls, Arc::new(config))
}

/// A tenant's end, which has not said anything yet.
pub(crate) fn tenant(config: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(Arc::clone(config), ServerName::try_from("localhost").unwrap()).unwrap()
}

/// The proxy, and so many sessions over TLS.
pub(crate) fn open(engine: &str, compute: SocketAddr, sessions: usize) -> (Proxy, Vec<Tenant>) {
    let (tls, config) = ends();
    let proxy = Proxy::start_as(engine, &[compute], |settings| settings.tls = tls);
    let tenants = (0..sessions).map(|_| {
        let connection = tenant(&config);
        Client::over(StreamOwned::new(connection, tcp(proxy.address))).upgraded("/?token=any", &[])
    });
    let tenants = tenants.collect();
    (proxy, tenants)
}
