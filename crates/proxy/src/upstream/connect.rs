//! Opens connections to providers: names, addresses, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Http2, Settings};
use crate::error::Error;

/// A connection to a provider, encrypted or not.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As is.
    Plain(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A fresh connection and what came with it.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// A second handle on the socket, for looking at it while the stream is lent out.
    pub(crate) probe: socket2::Socket,
    /// Whether both sides agreed on HTTP/2.
    pub(crate) http2: bool,
}

/// Opens connections.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    http2: Http2,
    timeout: Duration,
}

impl Connector {
    /// # Errors
    /// The extra certificate file cannot be read.
    pub(crate) fn new(settings: &Settings) -> io::Result<Self> {
        let mut config = ClientConfig::builder()
            .with_root_certificates(roots(settings.extra_ca_file.as_deref())?)
            .with_no_client_auth();
        config.alpn_protocols = match settings.http2 {
            Http2::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Http2::Never => vec![b"http/1.1".to_vec()],
            Http2::Always => vec![b"h2".to_vec()],
        };
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            http2: settings.http2,
            timeout: settings.connect_timeout,
        })
    }

    /// The same, by HTTP/1.1 alone.
    pub(crate) fn without_http2(&self) -> Self {
        let mut config = ClientConfig::clone(self.tls.config());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            http2: Http2::Never,
            timeout: self.timeout,
        }
    }

    /// Connects to `authority`.
    ///
    /// `trusted`: the operator named this address; otherwise an address that is not globally
    /// reachable is refused, after the name was resolved and before anything is sent. `limit`: how
    /// long it may take, instead of the setting.
    pub(crate) async fn connect(
        &self,
        https: bool,
        authority: &Authority,
        trusted: bool,
        limit: Option<Duration>,
    ) -> Result<Connected, Error> {
        let deadline = Instant::now() + limit.unwrap_or(self.timeout);
        let connecting = self.connect_before(https, authority, trusted, deadline);
        timeout_at(deadline, connecting)
            .await
            .unwrap_or(Err(Error::ConnectTimeout))
    }

    async fn connect_before(
        &self,
        https: bool,
        authority: &Authority,
        trusted: bool,
        deadline: Instant,
    ) -> Result<Connected, Error> {
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        let tcp = dial(addresses(host, port, trusted).await?, deadline).await?;
        let prepared = tcp
            .set_nodelay(true)
            .and_then(|()| socket2::SockRef::from(&tcp).try_clone());
        let probe = prepared.map_err(|error| Error::ConnectFailed(error.into()))?;
        if !https {
            let http2 = self.http2 == Http2::Always;
            return Ok(Connected {
                stream: Stream::Plain(tcp),
                probe,
                http2,
            });
        }
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Error::TlsFailed(error.into()))?;
        let tls = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|e| Error::TlsFailed(e.into()))?;
        let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connected {
            stream: Stream::Tls(Box::new(tls)),
            probe,
            http2,
        })
    }
}

async fn addresses(host: &str, port: u16, trusted: bool) -> Result<Vec<SocketAddr>, Error> {
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_not_an_address) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| Error::ConnectFailed(error.into()))?
            .collect(),
    };
    if !trusted && found.iter().any(|address| !is_global(address.ip())) {
        return Err(Error::PrivateAddress);
    }
    let (six, four): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
    // Families take turns, so that a broken one costs one address' share of the time.
    let mut turns = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        match (four.next(), six.next()) {
            (None, None) => return Ok(turns),
            (a, b) => turns.extend(a.into_iter().chain(b)),
        }
    }
}

/// Tries the addresses in order; each but the last has an equal share of the remaining time.
async fn dial(addresses: Vec<SocketAddr>, deadline: Instant) -> Result<TcpStream, Error> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for (address, left) in addresses.into_iter().zip((1..=count).rev()) {
        let now = Instant::now();
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(elapsed) => last = elapsed.into(),
        }
    }
    if last.kind() == io::ErrorKind::TimedOut {
        return Err(Error::ConnectTimeout);
    }
    Err(Error::ConnectFailed(last.into()))
}

/// Whether an address is one of the public internet (RFC 6890 and the IANA special-purpose
/// registries it founded).
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_documentation()
                || ip.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19)))
        }
        IpAddr::V6(ip) => {
            if let Some(four) = ip.to_ipv4_mapped() {
                return is_global(IpAddr::V4(four));
            }
            let first = ip.segments()[0];
            // Global unicast is 2000::/3; of it, Teredo, 6to4 and documentation can lead inside.
            (first & 0xe000) == 0x2000
                && first != 0x2002
                && !(first == 0x2001 && ip.segments()[1] < 0x0200)
                && !(first == 0x2001 && ip.segments()[1] == 0x0db8)
        }
    }
}

fn roots(extra: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    // A container without system roots is normal: the bundled ones serve.
    let native = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = extra {
        let bad = |error: String| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "`{}` is no PEM file of certificates: {error}",
                    path.display()
                ),
            )
        };
        let mut count = 0;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| bad(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(bad("it holds no certificate".into()));
        }
    }
    Ok(roots)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Says nothing more, not even the alert of TLS: a peer that has gone would answer it with a
    /// reset, and that is how a request that nobody has read is told from one that was.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.get_mut().0).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(tcp) => tcp.is_write_vectored(),
            Self::Tls(tls) => tls.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_global() {
        for inside in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "198.18.0.1",
            "192.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "fc00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!is_global(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["8.8.8.8", "20.62.1.1", "2606:4700::1", "2603:1030::1"] {
            assert!(is_global(outside.parse().unwrap()), "{outside}");
        }
    }
}
