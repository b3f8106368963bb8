//! A certificate authority for tests, and TLS settings that trust it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// An authority with one certificate for `localhost` and 127.0.0.1.
pub struct Tls {
    authority: CertifiedIssuer<'static, KeyPair>,
    leaf: Leaf,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Leaf {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    /// The certificate as PEM.
    pub certificate_pem: String,
    /// Its private key as PEM (PKCS #8).
    pub key_pem: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Default for Tls {
    fn default() -> Self {
        Self::new()
    }
}

impl Tls {
    /// A new authority and its certificate.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        let authority = CertifiedIssuer::self_signed(params, key).expect("it signs itself");
        let leaf = issue(&authority, &["localhost", "127.0.0.1"]);
        Self { authority, leaf }
    }

    /// Another certificate of the same authority, for these names or addresses.
    #[must_use]
    pub fn issue(&self, names: &[&str]) -> Leaf {
        issue(&self.authority, names)
    }

    /// The certificate for `localhost` and 127.0.0.1.
    #[must_use]
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The authority's own certificate as PEM, for who must trust it.
    #[must_use]
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// Settings of a server with [`leaf`](Self::leaf) that offers these protocols.
    #[must_use]
    pub fn server_config(&self, alpn: &[&str]) -> ServerConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(self.leaf.key.serialize_der().into());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![self.leaf.certificate.clone()], key)
            .expect("the key fits its certificate");
        config.alpn_protocols = protocols(alpn);
        config
    }

    /// Settings of a client that trusts only this authority and offers these protocols.
    #[must_use]
    pub fn client_config(&self, alpn: &[&str]) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots
            .add(self.authority.der().clone())
            .expect("the authority's certificate is sound");
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols(alpn);
        config
    }
}

fn issue(authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> Leaf {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let params = CertificateParams::new(names).expect("the names are sound");
    let key = KeyPair::generate().expect("keys can be made");
    let certificate = params
        .signed_by(&key, authority)
        .expect("the authority signs");
    Leaf {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        certificate: certificate.der().clone(),
        key,
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
