//! `[console] ssl_ciphers`: OpenSSL's cipher strings (`man openssl-ciphers`), as far as there are such suites here.
//!
//! They restrict TLS 1.2 alone, as they do in OpenSSL; the suites of TLS 1.3 are always on.

use std::fmt;

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, cipher_suite as suites};
use rustls::{ProtocolVersion, SupportedCipherSuite};
use thiserror::Error;

/// OpenSSL's names of the suites of TLS 1.2 that are spoken, and the words that describe each.
const NAMES: &[(&str, SupportedCipherSuite, &[&str])] = &[
    (
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        &["ECDSA", "aECDSA", "AES256", "AES", "AESGCM", "SHA384"],
    ),
    (
        "ECDHE-RSA-AES256-GCM-SHA384",
        suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        &["aRSA", "AES256", "AES", "AESGCM", "SHA384"],
    ),
    (
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        &["ECDSA", "aECDSA", "CHACHA20"],
    ),
    (
        "ECDHE-RSA-CHACHA20-POLY1305",
        suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        &["aRSA", "CHACHA20"],
    ),
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        &["ECDSA", "aECDSA", "AES128", "AES", "AESGCM", "SHA256"],
    ),
    (
        "ECDHE-RSA-AES128-GCM-SHA256",
        suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        &["aRSA", "AES128", "AES", "AESGCM", "SHA256"],
    ),
];

/// Words that describe all of them.
const OF_ALL: &[&str] = &[
    "ALL", "DEFAULT", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "kECDH", "ECDH", "TLSv1.2", "FIPS",
    "SUITEB",
];

/// Words for suites that are not spoken here anyway: keeping them out takes nothing.
const OF_NONE: &[&str] = &[
    "COMPLEMENTOFDEFAULT",
    "COMPLEMENTOFALL",
    "eNULL",
    "NULL",
    "aNULL",
    "ADH",
    "AECDH",
    "EXPORT",
    "EXP",
    "LOW",
    "MEDIUM",
    "DES",
    "3DES",
    "RC4",
    "RC2",
    "MD5",
    "SHA1",
    "SHA",
    "PSK",
    "kPSK",
    "aPSK",
    "SRP",
    "SEED",
    "IDEA",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "DSS",
    "aDSS",
    "DSA",
    "kRSA",
    "RSA",
    "DH",
    "DHE",
    "EDH",
    "kDHE",
    "kEDH",
    "SSLv2",
    "SSLv3",
    "TLSv1",
    "TLSv1.0",
    "AESCCM",
    "AESCCM8",
    "GOST",
    "kGOST",
    "CBC",
    "kDH",
];

/// The suites that a cipher string leaves.
#[derive(Clone, PartialEq)]
pub struct Ciphers {
    tls12: Vec<SupportedCipherSuite>,
    /// Words of it that mean nothing here
    pub unknown: Vec<String>,
}

/// A cipher string that leaves no suite.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no cipher suite is left of \"{0}\"")]
pub struct NoCipherLeft(String);

impl Default for Ciphers {
    /// All of them.
    fn default() -> Self {
        Self { tls12: NAMES.iter().map(|(_, suite, _)| *suite).collect(), unknown: Vec::new() }
    }
}

impl Ciphers {
    /// Reads a cipher string.
    ///
    /// # Errors
    ///
    /// [`NoCipherLeft`].
    pub fn parse(text: &str) -> Result<Self, NoCipherLeft> {
        let mut ciphers = Self { tls12: Vec::new(), unknown: Vec::new() };
        let mut killed = Vec::new();
        for word in text.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
            // @STRENGTH and @SECLEVEL sort and demand what holds here anyway.
            if word.starts_with('@') {
                continue;
            }
            let (sign, name) = match word.split_at_checked(1) {
                Some((sign @ ("!" | "-" | "+"), name)) => (sign, name),
                _ => ("", word),
            };
            let named = ciphers.named(name);
            match sign {
                "!" | "-" => {
                    ciphers.tls12.retain(|suite| !named.contains(suite));
                    if sign == "!" {
                        killed.extend(named);
                    }
                }
                "+" => {
                    let (moved, kept) = ciphers.tls12.iter().partition(|suite| named.contains(suite));
                    ciphers.tls12 = Vec::into_iter(kept).chain::<Vec<_>>(moved).collect();
                }
                _ => {
                    for suite in named {
                        if !killed.contains(&suite) && !ciphers.tls12.contains(&suite) {
                            ciphers.tls12.push(suite);
                        }
                    }
                }
            }
        }
        if ciphers.tls12.is_empty() { Err(NoCipherLeft(text.to_owned())) } else { Ok(ciphers) }
    }

    /// The suites of a name, or of several words joined by `+`, which all have to fit.
    fn named(&mut self, name: &str) -> Vec<SupportedCipherSuite> {
        if let Some((_, suite, _)) = NAMES.iter().find(|(openssl, ..)| *openssl == name) {
            return vec![*suite];
        }
        let words: Vec<&str> = name.split('+').collect();
        let is_known = |word: &&str| {
            OF_ALL.contains(word)
                || OF_NONE.contains(word)
                || NAMES.iter().any(|(.., words)| words.contains(word))
        };
        // A whole suite that is not spoken, such as AES256-SHA, is none of these either.
        if !words.iter().all(is_known) && !self.unknown.iter().any(|known| known == name) {
            self.unknown.push(name.to_owned());
        }
        let fits = |suite_words: &[&str], word: &&str| OF_ALL.contains(word) || suite_words.contains(word);
        NAMES
            .iter()
            .filter(|(.., suite_words)| words.iter().all(|word| fits(suite_words, word)))
            .map(|(_, suite, _)| *suite)
            .collect()
    }

    /// What to offer: all of TLS 1.3, then these.
    #[must_use]
    pub fn suites(&self) -> Vec<SupportedCipherSuite> {
        let newer =
            ALL_CIPHER_SUITES.iter().filter(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
        newer.chain(&self.tls12).copied().collect()
    }
}

impl fmt::Debug for Ciphers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tls12.iter().map(SupportedCipherSuite::suite)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// OpenSSL's names of what a string leaves.
    fn names(text: &str) -> Vec<&'static str> {
        let ciphers = Ciphers::parse(text).unwrap();
        let name = |suite| NAMES.iter().find(|(_, other, _)| *other == suite).map(|(name, ..)| *name);
        ciphers.tls12.into_iter().filter_map(name).collect()
    }

    #[test]
    fn cipher_strings_choose_suites_in_their_order() {
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(names("HIGH:!aNULL:!MD5").len(), 6);
        assert_eq!(names("kEECDH+aRSA+AESGCM").len(), 2);
        assert_eq!(
            names("ALL:!AES128:!CHACHA20"),
            ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"]
        );
        assert_eq!(names("AES128:-ECDSA:@STRENGTH"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(names("aRSA:+AES256")[2], "ECDHE-RSA-AES256-GCM-SHA384");
        assert_eq!(names("!AES:ALL"), ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305"]);
    }

    #[test]
    fn what_is_not_spoken_is_named_and_what_leaves_nothing_is_refused() {
        let ciphers = Ciphers::parse("AES256-SHA:ECDHE-RSA-AES256-GCM-SHA384:!3DES").unwrap();
        assert_eq!(ciphers.unknown, ["AES256-SHA"]);
        for text in ["", "AES256-SHA", "kRSA", "ALL:!ALL"] {
            assert_eq!(Ciphers::parse(text), Err(NoCipherLeft(text.to_owned())));
        }
    }

    #[test]
    fn the_suites_of_newer_versions_stay() {
        let suites = Ciphers::parse("ECDHE-RSA-AES256-GCM-SHA384").unwrap().suites();
        assert_eq!(suites.iter().filter(|s| s.version().version == ProtocolVersion::TLSv1_3).count(), 3);
        assert_eq!(suites.len(), 4);
    }
}
