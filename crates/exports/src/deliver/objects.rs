//! Objects of folders, buckets and containers: written, read back, listed.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use isango_types::{Secret, Timestamp};
use isango_wire::sigv4;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::spawn_blocking;

use super::{Carrier, Delivered, Failure, Receipt, request};
use crate::destination::{Blob, Bucket, Destination, To};

/// What a path of an object may hold unescaped, slashes included.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
/// Version of Azure's interface (Microsoft, "Put Blob"; read 2026-11-23).
const AZURE_VERSION: &str = "2021-12-02";

/// Until when objects are locked, or nothing.
type Lock = Option<Timestamp>;

/// Writes an object.
pub(crate) async fn put<C: Carrier>(
    carrier: &C,
    destination: &Destination,
    name: &str,
    (body, lock): (Bytes, Lock),
    now: Timestamp,
) -> Delivered {
    match &destination.to {
        To::Folder(root) => {
            let file = root.join(name);
            let written = spawn_blocking(move || write_file(&file, &body)).await;
            let written = written.map_err(|error| Failure::new(error.to_string()))?;
            written.map_err(|error| Failure::new(format!("the file cannot be written: {error}")))
        }
        To::Bucket(bucket) => {
            let headers = bucket_headers(bucket, &body, lock)?;
            let question = (Method::PUT, object_path(bucket, name), String::new());
            let (path, headers) = signed(bucket, &question, headers, (&body, now))?;
            request(carrier, &bucket.host, question.0, (path, headers), body).await?;
            Ok(())
        }
        To::Blob(blob) => {
            let headers = blob_headers(lock)?;
            let path = blob_path(blob, name);
            let question = (path, headers);
            match request(carrier, &blob.host, Method::PUT, question, body.clone()).await {
                // It may be there, and locked, by a write whose answer was lost.
                Err(failure) if failure.status == Some(StatusCode::CONFLICT) => {
                    let there = Box::pin(get(carrier, destination, name, now)).await;
                    let is_it = there.is_ok_and(|there| there.is_some_and(|there| there == body));
                    is_it.then_some(()).ok_or(failure)
                }
                other => other.map(drop),
            }
        }
        To::Post(_) => Err(Failure::new("this destination has no objects")),
    }
}

fn object_path(bucket: &Bucket, name: &str) -> String {
    format!("{}/{}", bucket.base, utf8_percent_encode(name, PATH))
}

fn blob_path(blob: &Blob, name: &str) -> Secret {
    let name = utf8_percent_encode(name, PATH);
    Secret::new(format!("{}/{name}?{}", blob.container, blob.query.expose()))
}

fn value(text: String) -> Delivered<HeaderValue> {
    HeaderValue::try_from(text).map_err(|_invalid| Failure::new("a header cannot be written"))
}

/// Headers of an object; its checksum is the store's to compare (AWS, "Checking object integrity";
/// read 2026-11-23).
fn bucket_headers(bucket: &Bucket, body: &[u8], lock: Lock) -> Delivered<HeaderMap> {
    use aws_lc_rs::digest::{SHA256, digest};
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    let sum = STANDARD.encode(digest(&SHA256, body));
    // Google's interface knows AWS's signatures, not its checksums; what is signed covers the body.
    if !bucket.host.authority.ends_with("googleapis.com") {
        headers.insert("x-amz-checksum-sha256", value(sum)?);
        // Buckets with object lock want to be told which one it is.
        let kind = HeaderValue::from_static("SHA256");
        headers.insert("x-amz-sdk-checksum-algorithm", kind);
    }
    if let Some(sse) = &bucket.sse {
        headers.insert("x-amz-server-side-encryption", value(sse.to_string())?);
    }
    if let Some(until) = lock {
        headers.insert(
            "x-amz-object-lock-mode",
            HeaderValue::from_static("COMPLIANCE"),
        );
        headers.insert(
            "x-amz-object-lock-retain-until-date",
            value(seconds(until))?,
        );
    }
    Ok(headers)
}

/// Headers of a blob (Microsoft, "Put Blob"; read 2026-11-23).
fn blob_headers(lock: Lock) -> Delivered<HeaderMap> {
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
    headers.insert("x-ms-version", HeaderValue::from_static(AZURE_VERSION));
    if let Some(until) = lock {
        let until = until.to_jiff().strftime("%a, %d %b %Y %H:%M:%S GMT");
        headers.insert(
            "x-ms-immutability-policy-until-date",
            value(until.to_string())?,
        );
        headers.insert(
            "x-ms-immutability-policy-mode",
            HeaderValue::from_static("locked"),
        );
        headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    }
    Ok(headers)
}

/// A moment in whole seconds, as ISO 8601 has it.
fn seconds(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

/// Signs a request for a bucket: method, path and query.
fn signed(
    bucket: &Bucket,
    (method, path, query): &(Method, String, String),
    mut headers: HeaderMap,
    (body, now): (&[u8], Timestamp),
) -> Delivered<(Secret, HeaderMap)> {
    let (payload, date) = (sigv4::sha256(body), sigv4::basic(now));
    headers.insert("x-amz-date", value(date.clone())?);
    headers.insert("x-amz-content-sha256", value(payload.clone())?);
    if let Some(token) = &bucket.keys.session_token {
        let mut token = value(token.expose().to_owned())?;
        token.set_sensitive(true);
        headers.insert("x-amz-security-token", token);
    }
    let chosen = headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), sigv4::collapsed(&value))
    });
    let host = ("host".to_owned(), bucket.host.authority.to_string());
    let mut chosen: Vec<(String, String)> = chosen.chain([host]).collect();
    chosen.sort_unstable();
    let request = sigv4::Signed {
        method: method.as_str(),
        path,
        query,
        headers: chosen,
        payload: &payload,
        encodes_path: false,
    };
    let authorization = request.authorization(&bucket.keys, (&bucket.region, "s3"), &date);
    let mut authorization = value(authorization)?;
    authorization.set_sensitive(true);
    headers.insert(AUTHORIZATION, authorization);
    let path = match query.is_empty() {
        true => path.clone(),
        false => format!("{path}?{query}"),
    };
    Ok((Secret::new(path), headers))
}

/// Writes a file that is there wholly, or not at all.
fn write_file(file: &Path, body: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    make_folder(folder)?;
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = folder.join(name);
    let mut open = File::create(&part)?;
    open.write_all(body)?;
    open.sync_all()?;
    drop(open);
    fs::rename(&part, file)?;
    File::open(folder)?.sync_all()
}

/// Makes a folder, and those that it lies in, so that a power loss leaves none of them out.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent)?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        return File::open(parent)?.sync_all();
    }
    Ok(())
}

/// Reads an object; `None`: there is none.
pub(crate) async fn get<C: Carrier>(
    carrier: &C,
    destination: &Destination,
    name: &str,
    now: Timestamp,
) -> Result<Option<Bytes>, String> {
    let found = match &destination.to {
        To::Folder(root) => {
            return match fs::read(root.join(name)) {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.to_string()),
            };
        }
        To::Bucket(bucket) => {
            let question = (Method::GET, object_path(bucket, name), String::new());
            ask(carrier, bucket, &question, now).await
        }
        To::Blob(blob) => {
            let mut headers = HeaderMap::new();
            headers.insert("x-ms-version", HeaderValue::from_static(AZURE_VERSION));
            let path = blob_path(blob, name);
            request(
                carrier,
                &blob.host,
                Method::GET,
                (path, headers),
                Bytes::new(),
            )
            .await
        }
        To::Post(_) => return Err("this destination has no objects".into()),
    };
    match found {
        Ok(receipt) => Ok(Some(receipt.body)),
        Err(failure) if failure.status == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(failure) => Err(failure.why),
    }
}

async fn ask<C: Carrier>(
    carrier: &C,
    bucket: &Bucket,
    question: &(Method, String, String),
    now: Timestamp,
) -> Delivered<Receipt> {
    let (path, headers) = signed(bucket, question, HeaderMap::new(), (&[], now))?;
    request(
        carrier,
        &bucket.host,
        question.0.clone(),
        (path, headers),
        Bytes::new(),
    )
    .await
}

/// The names of all objects that begin with `prefix`, sorted.
pub(crate) async fn list<C: Carrier>(
    carrier: &C,
    destination: &Destination,
    prefix: &str,
    now: Timestamp,
) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    let mut behind: Option<String> = None;
    loop {
        let (listed, tags) = match &destination.to {
            To::Folder(root) => {
                walk(root, &root.join(prefix), &mut names).map_err(|error| error.to_string())?;
                break;
            }
            To::Bucket(bucket) => {
                let mut query = format!("list-type=2&prefix={}", component(prefix));
                if let Some(behind) = &behind {
                    query = format!("continuation-token={}&{query}", component(behind));
                }
                let path = if bucket.base.is_empty() {
                    "/"
                } else {
                    &bucket.base
                };
                let question = (Method::GET, path.to_owned(), query);
                let answer = ask(carrier, bucket, &question, now).await;
                (answer, ("Key", "NextContinuationToken"))
            }
            To::Blob(blob) => {
                let mut query = format!("restype=container&comp=list&prefix={}", component(prefix));
                if let Some(behind) = &behind {
                    query = format!("{query}&marker={}", component(behind));
                }
                let (container, of) = (&blob.container, blob.query.expose());
                let path = Secret::new(format!("{container}?{query}&{of}"));
                let mut headers = HeaderMap::new();
                headers.insert("x-ms-version", HeaderValue::from_static(AZURE_VERSION));
                let question = (path, headers);
                let answer =
                    request(carrier, &blob.host, Method::GET, question, Bytes::new()).await;
                (answer, ("Name", "NextMarker"))
            }
            To::Post(_) => return Err("this destination has no objects".into()),
        };
        let receipt = listed.map_err(|failure| failure.why)?;
        let xml = String::from_utf8_lossy(&receipt.body);
        names.extend(elements(&xml, tags.0));
        behind = elements(&xml, tags.1)
            .into_iter()
            .next()
            .filter(|text| !text.is_empty());
        if behind.is_none() {
            break;
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn component(text: &str) -> String {
    const COMPONENT: &AsciiSet = &PATH.add(b'/');
    utf8_percent_encode(text, COMPONENT).to_string()
}

/// The texts of all elements of a name, which hold nothing but text.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let parts = xml.split(&begin).skip(1);
    let texts = parts
        .filter_map(|part| part.split_once(&end))
        .map(|(text, _)| {
            let text = text
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"");
            text.replace("&amp;", "&")
        });
    texts.collect()
}

fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) -> std::io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, names)?;
        } else if let Ok(name) = path.strip_prefix(root) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}
