//! Brings batches to their destinations, and reads objects back. Every write may be made again: the
//! same object under the same name, the same body under the same id.

mod objects;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use isango_store::exports::Buried;
use isango_store::signature;
use isango_types::{Secret, Timestamp};
use percent_encoding::percent_decode_str;

use crate::destination::{Destination, Framing, Host, Post, To};
use crate::job::{Job, Pack};
use crate::manifest::{self, Manifest, hex};
use crate::otlp::{self, Signal};
use crate::path::join;

pub(crate) use self::objects::{get, list, put};

/// Largest answer to a write that is read, in bytes.
const MAX_SAID: usize = 1_024;
/// Shortest part of an address or a header that is kept out of what a destination said, in bytes.
const MIN_SECRET: usize = 6;
/// Largest object that is read back, in bytes.
const MAX_OBJECT: usize = 256 << 20;

/// A request to a destination.
#[derive(Debug)]
pub struct Parcel {
    /// Its method.
    pub method: Method,
    /// Whether the connection is encrypted.
    pub https: bool,
    /// Host and port.
    pub authority: Box<str>,
    /// Path and query; may hold secrets.
    pub path: Secret,
    /// Whether the host may be in a private network.
    pub trusted: bool,
    /// Headers but for `host` and `content-length`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// How much of the answer is read, in bytes.
    pub max_answer: usize,
}

/// What the destination answered.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Its status; a redirect is one like any other.
    pub status: StatusCode,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// The beginning of what it said.
    pub body: Bytes,
}

/// Sends requests to destinations.
pub trait Carrier: Send + Sync + 'static {
    /// Sends one, and tells what was answered, or why nothing was: in words that name no address.
    fn carry(&self, parcel: Parcel) -> impl Future<Output = Result<Receipt, String>> + Send;
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// What the destination answered, if it did.
    status: Option<StatusCode>,
    /// How long the destination asks us to wait.
    pub(crate) retry_after: Option<Duration>,
    /// The destination does not like what it was given: trying again hardly helps.
    pub(crate) is_of_content: bool,
}

impl Failure {
    fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            status: None,
            retry_after: None,
            is_of_content: false,
        }
    }
}

type Delivered<T = ()> = Result<T, Failure>;

/// Delivers a batch, and its manifest behind it.
pub(crate) async fn deliver<C: Carrier>(
    carrier: &C,
    job: &Job,
    (manifest, body): (&Manifest, Bytes),
    now: Timestamp,
) -> Delivered {
    let destination = &job.spec.destination;
    if let To::Post(post) = &destination.to {
        return send(carrier, job, (post, manifest), body, now).await;
    }
    let lock = job.spec.retain.map(|retain| manifest.made_at.plus(retain));
    put(carrier, destination, &manifest.object, (body, lock), now).await?;
    let name = manifest_path(destination, &job.slug(), manifest.sequence);
    let json = Bytes::from(manifest.to_json());
    put(carrier, destination, &name, (json, lock), now).await
}

/// Where a manifest is.
fn manifest_path(destination: &Destination, slug: &str, sequence: u64) -> String {
    join(
        destination.path.root(),
        &join(&manifest::folder(slug), &manifest::name(sequence)),
    )
}

/// Writes a small object, or sends a small body, that says it is a test. What the destination said.
///
/// # Errors
/// Why it was not taken; names no address.
pub async fn test_write<C: Carrier>(
    carrier: &C,
    destination: &Destination,
    now: Timestamp,
) -> Result<(), String> {
    let line = format!("{{\"isango\":\"test\",\"content\":\"test\",\"at\":\"{now}\"}}\n");
    let written = match &destination.to {
        To::Post(post) => {
            let body = match post.framing {
                Framing::Lines => line.into_bytes(),
                Framing::Array => format!("[{}]", line.trim_end()).into_bytes(),
                Framing::OtlpJson => otlp::request(Signal::Traces, &[], false),
                Framing::OtlpProtobuf => otlp::request(Signal::Traces, &[], true),
            };
            let headers = post_headers(post, Pack::Plain);
            request(
                carrier,
                &post.host,
                Method::POST,
                (post.path.clone(), headers),
                body.into(),
            )
            .await
            .map(drop)
        }
        To::Folder(_) | To::Bucket(_) | To::Blob(_) => {
            let name = join(destination.path.root(), "isango-test.txt");
            put(carrier, destination, &name, (line.into(), None), now).await
        }
    };
    written.map_err(|failure| failure.why)
}

/// Sends a body.
async fn send<C: Carrier>(
    carrier: &C,
    job: &Job,
    (post, manifest): (&Post, &Manifest),
    body: Bytes,
    now: Timestamp,
) -> Delivered {
    let facts = [
        (
            "isango-batch-id",
            format!("{}/{}", manifest.job, manifest.sequence),
        ),
        ("isango-records", manifest.records.to_string()),
        ("isango-sha256", manifest.sha256.to_string()),
        ("isango-link", manifest.link.to_string()),
    ];
    let headers = with_facts(post_headers(post, job.spec.pack), facts);
    send_body(carrier, job, (post, headers), body, now).await
}

/// Sends a batch again that was laid aside: the same body, with the same id.
///
/// # Errors
/// Why it was not taken; names no address.
pub(crate) async fn send_again<C: Carrier>(
    carrier: &C,
    job: &Job,
    buried: &Buried,
    now: Timestamp,
) -> Result<(), String> {
    let To::Post(post) = &job.spec.destination.to else {
        return Err("the export has another kind of destination now".into());
    };
    // It was packed as its name says, whatever the job does now.
    let packs = Pack::ALL
        .iter()
        .filter(|pack| buried.name.ends_with(pack.suffix()));
    let pack = packs.max_by_key(|pack| pack.suffix().len()).copied();
    let number = manifest::number_in(&buried.name).unwrap_or_default();
    let facts = [
        ("isango-batch-id", format!("{}/{number}", buried.job)),
        ("isango-sha256", sha256(&buried.batch)),
    ];
    let headers = with_facts(post_headers(post, pack.unwrap_or(Pack::Plain)), facts);
    let body = Bytes::from(buried.batch.clone());
    let sent = send_body(carrier, job, (post, headers), body, now).await;
    sent.map_err(|failure| failure.why)
}

/// The same headers with what is said of a batch.
fn with_facts<const N: usize>(
    mut headers: HeaderMap,
    facts: [(&'static str, String); N],
) -> HeaderMap {
    for (name, value) in facts {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// Sends a body, signed if the job says so.
async fn send_body<C: Carrier>(
    carrier: &C,
    job: &Job,
    (post, mut headers): (&Post, HeaderMap),
    body: Bytes,
    now: Timestamp,
) -> Delivered {
    if let Some(key) = &job.spec.signing_key {
        let (seconds, signature) = signature::sign(key, now, &body);
        headers.insert(
            HeaderName::from_static(signature::TIMESTAMP),
            seconds.into(),
        );
        if let Ok(value) = HeaderValue::try_from(signature) {
            headers.insert(HeaderName::from_static(signature::SIGNATURE), value);
        }
    }
    request(
        carrier,
        &post.host,
        Method::POST,
        (post.path.clone(), headers),
        body,
    )
    .await
    .map(drop)
}

fn post_headers(post: &Post, pack: Pack) -> HeaderMap {
    let kind = match post.framing {
        Framing::Lines => "application/x-ndjson",
        Framing::Array | Framing::OtlpJson => "application/json",
        Framing::OtlpProtobuf => "application/x-protobuf",
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(encoding) = pack.encoding() {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    for (name, value) in &post.headers {
        headers.insert(name.clone(), value.clone());
    }
    headers
}

/// Sends one request; anything but a success is a failure.
async fn request<C: Carrier>(
    carrier: &C,
    host: &Host,
    method: Method,
    (path, mut headers): (Secret, HeaderMap),
    body: Bytes,
) -> Delivered<Receipt> {
    let max_answer = match method == Method::GET {
        true => MAX_OBJECT,
        false => MAX_SAID,
    };
    let agent = concat!("isango/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let secrets = secrets_of(host, &path, &headers);
    let parcel = Parcel {
        method,
        https: host.https,
        authority: host.authority.clone(),
        path,
        trusted: host.trusted,
        headers,
        body,
        max_answer,
    };
    let receipt = carrier.carry(parcel).await.map_err(Failure::new)?;
    let status = receipt.status;
    if status.is_success() {
        return Ok(receipt);
    }
    Err(Failure {
        why: format!(
            "it answers {}: {}",
            status.as_u16(),
            said(&receipt.body, &secrets)
        ),
        status: Some(status),
        retry_after: receipt.retry_after,
        is_of_content: matches!(status.as_u16(), 400 | 413 | 415 | 422),
    })
}

/// What of a request a destination may repeat, and nobody may read: its address, and values of its
/// query and headers. The longest first.
fn secrets_of(host: &Host, path: &Secret, headers: &HeaderMap) -> Vec<String> {
    let (place, query) = path.expose().split_once('?').unwrap_or((path.expose(), ""));
    let mut texts: Vec<String> = vec![
        path.expose().into(),
        place.into(),
        query.into(),
        host.authority.to_string(),
    ];
    texts.extend(place.split('/').map(str::to_owned));
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    texts.extend(values.map(|(_, value)| value.to_owned()));
    let sensitive = headers.values().filter(|value| value.is_sensitive());
    for value in sensitive.filter_map(|value| value.to_str().ok()) {
        texts.extend(value.split(' ').map(str::to_owned));
    }
    let decoded = texts
        .iter()
        .map(|text| percent_decode_str(text).decode_utf8_lossy());
    let decoded: Vec<String> = decoded.map(Cow::into_owned).collect();
    texts.extend(decoded);
    texts.retain(|text| text.len() >= MIN_SECRET);
    texts.sort_unstable_by_key(|text| std::cmp::Reverse(text.len()));
    texts.dedup();
    texts
}

/// The beginning of an answer in one line, without what terminals would obey, and without secrets.
fn said(body: &[u8], secrets: &[String]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = secrets.iter().fold(text.into_owned(), |text, secret| {
        text.replace(secret, "*****")
    });
    let shown = text.chars().filter(|c| !c.is_control()).take(200);
    shown.collect()
}

/// The SHA-256 of an object, in hex.
pub(crate) fn sha256(body: &[u8]) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    hex(digest(&SHA256, body).as_ref())
}
