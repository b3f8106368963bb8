//! Reads request bodies: into memory within a limit, or only their size and hash.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::body::Severed;

/// A request's body: its size and hash, and its bytes where an answer needs them.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) length: u64,
    pub(crate) hash: u64,
}

/// Reads a body to its end; `None` when it is larger than `keep`, the most that may be held.
/// Without `keep` nothing is held.
pub(crate) async fn receive(
    mut body: Incoming,
    keep: Option<usize>,
) -> Result<Option<Received>, Severed> {
    let first = next_data(&mut body).await?.unwrap_or_default();
    if body.is_end_stream() {
        let (length, hash) = (first.len() as u64, xxh3_64(&first));
        let fits = keep.is_none_or(|most| first.len() <= most);
        return Ok(fits.then_some(Received {
            bytes: first,
            length,
            hash,
        }));
    }
    let mut hasher = Box::new(Xxh3::new());
    let (mut held, mut length) = (BytesMut::new(), 0);
    let mut next = Some(first);
    while let Some(data) = next {
        length += data.len() as u64;
        hasher.update(&data);
        if let Some(most) = keep {
            if held.len() + data.len() > most {
                return Ok(None);
            }
            held.extend_from_slice(&data);
        }
        next = next_data(&mut body).await?;
    }
    Ok(Some(Received {
        bytes: held.freeze(),
        length,
        hash: hasher.digest(),
    }))
}

/// The next piece of a body; an error means that the peer is gone.
async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>, Severed> {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Err(_) => return Err(Severed),
        }
    }
    Ok(None)
}
