//! The admin listener of a running gateway, as commands ask it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use isango_types::Secret;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::cli::runtime;

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer of the admin listener, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Which running gateway is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Admin {
    /// Admin listener of the running gateway
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "ISANGO_ADMIN_LISTEN",
        default_value = "127.0.0.1:8701"
    )]
    admin: SocketAddr,
}

impl Admin {
    /// Asks its management API; what was done.
    ///
    /// # Errors
    /// Nobody answers there, or not as a gateway does; or it says why it refuses.
    pub(super) fn api(
        &self,
        method: Method,
        path: &str,
        token: &Secret,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut told = ask(self.admin, (method, path), Some(token), body)?;
        Ok(told["result"].take())
    }

    /// Asks it; what it tells.
    ///
    /// # Errors
    /// Nobody answers there, or not as a gateway does; or it says why it refuses.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        ask(self.admin, (method, path), None, body)
    }
}

/// Asks the admin listener; what it tells, or why it did not.
fn ask(
    admin: SocketAddr,
    (method, path): (Method, &str),
    token: Option<&Secret>,
    body: Option<Value>,
) -> anyhow::Result<Value> {
    let asking = async {
        let stream = TcpStream::connect(admin).await.with_context(|| {
            format!(
                "no gateway answers at {admin}; start it, or name its admin listener with --admin"
            )
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let body = body.map_or_else(String::new, |body| body.to_string());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", admin.to_string())
            .header("content-type", "application/json");
        if let Some(token) = token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            request = request.header("authorization", value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let mut answer = sender.send_request(request).await?;
            let mut told = BytesMut::new();
            while let Some(frame) = answer.frame().await {
                if let Ok(data) = frame?.into_data() {
                    told.extend_from_slice(&data);
                }
                anyhow::ensure!(told.len() <= MAX_ANSWER, "the answer of {admin} has no end");
            }
            drop(sender);
            Ok((answer.status(), told.freeze()))
        };
        let (answer, _ended) = tokio::join!(answer, connection);
        answer
    };
    let (status, told) = runtime()?
        .block_on(async { tokio::time::timeout(PATIENCE, asking).await })
        .with_context(|| format!("{admin} does not answer"))??;
    let read: Option<Value> = serde_json::from_slice(&told).ok();
    match read {
        Some(told) if status.is_success() => Ok(told),
        Some(told) => {
            let why = told["error"]
                .as_str()
                .or(told["errors"][0]["message"].as_str());
            anyhow::bail!("{}", why.unwrap_or("it failed"))
        }
        None => anyhow::bail!("{admin} is no admin listener of a gateway: it answers {status}"),
    }
}
