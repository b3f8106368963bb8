//! The two legs of a request: how the client speaks to the gateway, and the gateway to the provider.

use std::io::Write as _;

use bytes::Bytes;
use isango_testkit::answer::Answer;
use isango_testkit::client::{Ask, Client, End};
use isango_testkit::h2::{H2Answer, H2Client};
use isango_testkit::head::Head;
use isango_testkit::tls::Tls;
use isango_testkit::upstream::Upstream;

use crate::harness::Harness;

/// Configuration that leads `openai` and `anthropic` to `upstream`, which ask for no credential.
pub(crate) fn providers(upstream: &Upstream) -> String {
    let url = upstream.url();
    provider("openai", &format!("{url}/v1")) + &provider("anthropic", &url)
}

/// Configuration that leads a provider to `url` and asks for no credential.
pub(crate) fn provider(slug: &str, url: &str) -> String {
    let auth = "{ header = \"authorization\", optional = true }";
    format!("[providers.{slug}]\nbase_url = \"{url}\"\nauth = {auth}\n")
}

/// A gateway before `upstream`.
pub(crate) async fn before(upstream: &Upstream) -> Harness {
    Harness::start(&providers(upstream)).await
}

/// The same, with these settings besides: whole tables of TOML.
pub(crate) async fn with(settings: &str, upstream: &Upstream) -> Harness {
    Harness::start(&format!("{settings}{}", providers(upstream))).await
}

/// How the client speaks to the gateway, without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    Http1,
    Http2,
}

/// How the gateway speaks to the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outbound {
    Http1,
    Http2,
    Http1Tls,
    Http2Tls,
}

/// Both, in every combination that differs.
pub(crate) const WAYS: [(Inbound, Outbound); 5] = [
    (Inbound::Http1, Outbound::Http1),
    (Inbound::Http2, Outbound::Http1),
    (Inbound::Http1, Outbound::Http2),
    (Inbound::Http2, Outbound::Http2Tls),
    (Inbound::Http1, Outbound::Http1Tls),
];

impl Outbound {
    /// Whether each stream ends on its own, not with its connection.
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    /// A provider with this script, and a gateway before it.
    pub(crate) async fn serving(
        self,
        script: impl IntoIterator<Item = Answer>,
    ) -> (Upstream, Harness) {
        match self {
            Self::Http1 => {
                let upstream = Upstream::start(script).await;
                let gateway = before(&upstream).await;
                (upstream, gateway)
            }
            Self::Http2 => {
                let upstream = Upstream::start_h2(script).await;
                let settings = "[upstream]\nhttp2 = \"always\"\n";
                let gateway = with(settings, &upstream).await;
                (upstream, gateway)
            }
            Self::Http1Tls => before_tls(script, &["http/1.1"]).await,
            Self::Http2Tls => before_tls(script, &["h2", "http/1.1"]).await,
        }
    }
}

async fn before_tls(
    script: impl IntoIterator<Item = Answer>,
    alpn: &[&str],
) -> (Upstream, Harness) {
    let tls = Tls::new();
    let upstream = Upstream::start_tls(script, &tls, alpn).await;
    let gateway = trusting(&tls, &providers(&upstream)).await;
    (upstream, gateway)
}

/// A gateway that trusts the authority of `tls`.
pub(crate) async fn trusting(tls: &Tls, toml: &str) -> Harness {
    let file = pem(&tls.authority_pem());
    let path = file.path().to_str().unwrap();
    Harness::start(&format!("[upstream]\nextra_ca_file = \"{path}\"\n{toml}")).await
}

/// A file with this text.
pub(crate) fn pem(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// An answer under way, by either protocol. Dropping it closes the client's connection.
pub(crate) enum Answering {
    Http1(Head, Client),
    Http2(H2Client, H2Answer),
}

impl Inbound {
    /// Sends a request on a connection of its own and waits for the head of its answer.
    pub(crate) async fn start(self, gateway: &Harness, ask: &Ask) -> Answering {
        match self {
            Self::Http1 => {
                let mut client = Client::connect(gateway.addr).await;
                client.send_ask(ask).await;
                Answering::Http1(client.head().await, client)
            }
            Self::Http2 => {
                let mut client = H2Client::connect(gateway.addr).await;
                let answer = client.start(ask).await;
                Answering::Http2(client, answer)
            }
        }
    }
}

impl Answering {
    pub(crate) fn head(&self) -> &Head {
        match self {
            Self::Http1(head, _) => head,
            Self::Http2(_, answer) => &answer.head,
        }
    }

    /// The next piece of the body; `None` at its end.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(_, client) => client.piece().await,
            Self::Http2(_, answer) => answer.piece().await,
        }
    }

    /// Waits until `length` bytes of the body have come, however cut.
    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < length {
            match self.piece().await {
                Some(piece) => read.extend_from_slice(&piece),
                None => break,
            }
        }
        read
    }

    /// The rest of the body, and how it ended.
    pub(crate) async fn rest(mut self) -> (Vec<u8>, End) {
        if let Self::Http2(_client, answer) = self {
            let reply = answer.rest().await;
            return (reply.body, reply.end);
        }
        let body = self.bytes(usize::MAX).await;
        let Self::Http1(_, client) = self else {
            unreachable!("the other was answered above")
        };
        (body, client.end().unwrap())
    }
}
