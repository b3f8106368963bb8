//! TLS of the data plane: certificate files that are read again when they change.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The current certificate, and where it comes from.
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is missing or malformed, or key and certificate do not match; the text says which.
    pub(crate) fn load(files: TlsFiles) -> io::Result<Self> {
        let (cert, key) = read(&files)?;
        let current = ArcSwap::from_pointee(compile(&files, &cert, &key)?);
        Ok(Self { files, current })
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current.load_full())
            .accept(stream)
            .await
    }

    /// Puts changed files in force; a pair that does not work is told once, and the old one stays.
    pub(crate) async fn watch(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut seen = read(&self.files).ok();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let Ok(found) = read(&self.files) else {
                continue;
            };
            if seen.as_ref() == Some(&found) {
                continue;
            }
            match compile(&self.files, &found.0, &found.1) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    tracing::info!("the TLS certificate was read again");
                }
                Err(error) => tracing::error!(%error, "the TLS certificate stays the old one"),
            }
            seen = Some(found);
        }
    }
}

fn read(files: &TlsFiles) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let one = |path: &std::path::Path| {
        std::fs::read(path)
            .map_err(|error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display())))
    };
    Ok((one(&files.cert)?, one(&files.key)?))
}

fn compile(files: &TlsFiles, cert: &[u8], key: &[u8]) -> io::Result<ServerConfig> {
    let bad = |path: &std::path::Path, why: &dyn std::fmt::Display| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("`{}`: {why}", path.display()),
        )
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
        .collect::<Result<_, _>>()
        .map_err(|error| bad(&files.cert, &error))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, &"it holds no certificate in PEM"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(&files.key, &error))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&files.key, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
