//! Authorities and certificates for both ends of TLS between proxy and guest, in the files that QEMU and Nova take.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::program::directory;

/// An authority, whose certificate is `ca-cert.pem` in a folder.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one, and its folder.
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, folder.display().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join("ca-cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// `server-cert.pem` and `server-key.pem`, as `tls-creds-x509` looks for them.
    pub(crate) fn server(&self, names: &[&str]) {
        self.sign("server", names, ExtendedKeyUsagePurpose::ServerAuth, 4_000);
    }

    /// The same, expired.
    pub(crate) fn expired_server(&self) {
        self.sign("server", &["compute-7.example"], ExtendedKeyUsagePurpose::ServerAuth, 2_002);
    }

    /// `NAME-cert.pem` and `NAME-key.pem` for a client, valid to the end of the year `until`.
    pub(crate) fn client(&self, name: &str, until: i32) {
        self.sign(name, &["proxy"], ExtendedKeyUsagePurpose::ClientAuth, until);
    }

    fn sign(&self, file: &str, names: &[&str], purpose: ExtendedKeyUsagePurpose, until: i32) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(until, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{file}-cert")), certificate.pem()).unwrap();
        fs::write(self.file(&format!("{file}-key")), key.serialize_pem()).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("pem")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// An authority for guests and proxies, and another that nobody trusts.
pub(crate) struct Pki {
    pub(crate) ours: Authority,
    pub(crate) foreign: Authority,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let directory = directory();
        let ours = Authority::new(directory.join("ours"));
        let foreign = Authority::new(directory.join("foreign"));
        ours.server(&["compute-7.example"]);
        ours.client("client", 4_000);
        ours.client("expired", 2_002);
        foreign.client("client", 4_000);
        Self { ours, foreign }
    }

    /// nova.conf with the authorities of `authority`, and a pair of `client`'s.
    pub(crate) fn options(&self, authority: &Authority, client: Option<(&Authority, &str)>) -> String {
        let mut options =
            format!("[vnc]\nauth_schemes = vencrypt,none\nvencrypt_ca_certs = {}\n", ca(authority));
        if let Some((authority, name)) = client {
            for part in ["cert", "key"] {
                let file = authority.file(&format!("{name}-{part}"));
                options.push_str(&format!("vencrypt_client_{part} = {}\n", file.display()));
            }
        }
        options
    }
}

impl Drop for Pki {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.ours.folder().parent().unwrap());
    }
}

fn ca(authority: &Authority) -> String {
    authority.file("ca-cert").display().to_string()
}
