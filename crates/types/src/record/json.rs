//! A record's JSON without a serializer.
//!
//! A record has some fifty keys, numbers and short strings; serde looks at each of their bytes on
//! its own, which was most of what making the line cost. Here keys are copied, and strings too
//! once a look at eight bytes at a time has found nothing to escape. That the bytes are those of
//! [`Serialize`](serde::Serialize) is held by a property over all records.

use std::collections::BTreeMap;

use serde_json::Error;

use super::{Attempt, Body, Message, MetadataValue, Record, RecordError, Timing};
use crate::price::Cost;
use crate::usage::Usage;

/// The bytes of a key with its quotes and colon.
macro_rules! key {
    ($name:literal) => {
        concat!('"', $name, "\":").as_bytes()
    };
}

// Each member is written with a comma behind it, which the end of the object takes back.

impl Record {
    /// Appends this record's JSON to `out`: what [`Serialize`](serde::Serialize) writes, but
    /// without an `event_id` that is the same as `id`.
    ///
    /// # Errors
    /// None that is known: serde's signature for what is left to it.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        self.write_place(out)?;
        self.write_call(out)?;
        self.write_result(out)?;
        out.extend_from_slice(key!("request"));
        self.request.write(out)?;
        out.extend_from_slice(key!("response"));
        self.response.write(out)?;
        close(out, b'}');
        Ok(())
    }

    fn write_place(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut buffer = [0; 36];
        let id = self.id.encode(&mut buffer);
        word(out, key!("id"), id);
        if *self.event_id != *id {
            text(out, key!("event_id"), &self.event_id)?;
        }
        word(
            out,
            key!("created_at"),
            self.created_at.encode(&mut [0; 27]),
        );
        text(out, key!("account"), &self.account)?;
        text(out, key!("gateway"), &self.gateway)?;
        text_if(out, key!("provider"), self.provider.as_deref())?;
        text_if(out, key!("target"), self.target.as_deref())?;
        text_if(out, key!("resource"), self.resource.as_deref())?;
        text_if(out, key!("deployment"), self.deployment.as_deref())
    }

    fn write_call(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        word(out, key!("operation"), self.operation.as_str());
        let requested = self.model_requested.as_deref();
        text_if(out, key!("model_requested"), requested)?;
        text_if(out, key!("model"), self.model.as_deref())?;
        text(out, key!("method"), &self.method)?;
        text(out, key!("path"), &self.path)?;
        text(out, key!("http_version"), &self.http_version)?;
        number_if(out, key!("status"), self.status)?;
        word(out, key!("outcome"), self.outcome.as_str());
        if let Some(error) = &self.error {
            out.extend_from_slice(key!("error"));
            error.write(out)?;
        }
        list(out, key!("attempts"), &self.attempts, |out, attempt| {
            attempt.write(out)
        })?;
        out.extend_from_slice(key!("timing"));
        self.timing.write(out)?;
        flag(out, key!("stream"), self.stream);
        Ok(())
    }

    fn write_result(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(usage) = &self.usage {
            out.extend_from_slice(key!("usage"));
            usage.write(out)?;
        }
        out.extend_from_slice(key!("cost"));
        self.cost.write(out)?;
        text_if(out, key!("finish_reason"), self.finish_reason.as_deref())?;
        text_if(out, key!("provider_id"), self.provider_id.as_deref())?;
        write_metadata(out, &self.metadata)?;
        text_if(out, key!("token"), self.token.as_deref())?;
        text_if(out, key!("user_agent"), self.user_agent.as_deref())?;
        list(out, key!("notes"), &self.notes, |out, note| {
            string(out, note)
        })
    }
}

impl RecordError {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text(out, key!("code"), &self.code)?;
        word(out, key!("blame"), self.blame.as_str());
        text(out, key!("message"), &self.message)?;
        close(out, b'}');
        out.push(b',');
        Ok(())
    }
}

impl Attempt {
    /// Without a comma, as an item of a list.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text(out, key!("target"), &self.target)?;
        number_if(out, key!("status"), self.status)?;
        text_if(out, key!("error"), self.error.as_deref())?;
        number(out, key!("started_us"), self.started_us)?;
        number(out, key!("connect_us"), self.connect_us)?;
        number_if(out, key!("ttfb_us"), self.ttfb_us)?;
        flag(out, key!("reused"), self.reused);
        close(out, b'}');
        Ok(())
    }
}

impl Timing {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        number(out, key!("queue_us"), self.queue_us)?;
        number(out, key!("connect_us"), self.connect_us)?;
        number_if(out, key!("ttfb_us"), self.ttfb_us)?;
        number_if(out, key!("ttft_us"), self.ttft_us)?;
        number(out, key!("total_us"), self.total_us)?;
        number(out, key!("overhead_us"), self.overhead_us)?;
        close(out, b'}');
        out.push(b',');
        Ok(())
    }
}

impl Usage {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        for (key, count) in [
            (key!("input"), self.input),
            (key!("cache_read"), self.cache_read),
            (key!("cache_write"), self.cache_write),
            (key!("cache_write_1h"), self.cache_write_1h),
            (key!("audio_input"), self.audio_input),
            (key!("audio_cache_read"), self.audio_cache_read),
            (key!("image_input"), self.image_input),
            (key!("output"), self.output),
            (key!("reasoning"), self.reasoning),
            (key!("audio_output"), self.audio_output),
            (key!("image_output"), self.image_output),
            (key!("images"), self.images),
            (key!("searches"), self.searches),
            (key!("audio_ms"), self.audio_ms),
            (key!("characters"), self.characters),
        ] {
            number_if(out, key, (count > 0).then_some(count))?;
        }
        flag(out, key!("estimated"), self.estimated);
        close(out, b'}');
        out.push(b',');
        Ok(())
    }
}

impl Cost {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        word(out, key!("status"), self.status.as_str());
        match self.nanousd {
            Some(nanousd) => number(out, key!("nanousd"), nanousd)?,
            None => out.extend_from_slice(b"\"nanousd\":null,"),
        }
        text_if(out, key!("price"), self.price.as_deref())?;
        close(out, b'}');
        out.push(b',');
        Ok(())
    }
}

impl Message {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text_if(out, key!("content_type"), self.content_type.as_deref())?;
        let encoding = self.content_encoding.as_deref();
        text_if(out, key!("content_encoding"), encoding)?;
        number(out, key!("bytes"), self.bytes)?;
        if let Some(body) = &self.body {
            out.extend_from_slice(key!("body"));
            body.write(out)?;
        }
        if let Some(omitted) = self.omitted {
            word(out, key!("omitted"), omitted.as_str());
        }
        if let Some(raw) = &self.raw {
            out.extend_from_slice(key!("raw"));
            raw.write(out)?;
        }
        let times = &self.chunk_times_us;
        list(out, key!("chunk_times_us"), times, |out, time| {
            serde_json::to_writer(out, time)
        })?;
        let events = (self.events > 0).then_some(self.events);
        number_if(out, key!("events"), events)?;
        close(out, b'}');
        out.push(b',');
        Ok(())
    }
}

impl Body {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        match self {
            Self::Json(raw) => {
                out.extend_from_slice(key!("json"));
                out.extend_from_slice(raw.get().as_bytes());
            }
            Self::Text(text) => {
                out.extend_from_slice(key!("text"));
                string(out, text)?;
            }
            Self::Base64(base64) => {
                out.extend_from_slice(key!("base64"));
                string(out, base64)?;
            }
        }
        out.extend_from_slice(b"},");
        Ok(())
    }
}

fn write_metadata(
    out: &mut Vec<u8>,
    metadata: &BTreeMap<Box<str>, MetadataValue>,
) -> Result<(), Error> {
    if metadata.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(key!("metadata"));
    out.push(b'{');
    for (name, value) in metadata {
        string(out, name)?;
        out.push(b':');
        match value {
            MetadataValue::Text(text) => string(out, text)?,
            MetadataValue::Null | MetadataValue::Bool(_) | MetadataValue::Number(_) => {
                serde_json::to_writer(&mut *out, value)?;
            }
        }
        out.push(b',');
    }
    close(out, b'}');
    out.push(b',');
    Ok(())
}

/// Ends an object or a list: `end` takes the place of the last member's comma.
#[inline]
fn close(out: &mut Vec<u8>, end: u8) {
    match out.last_mut() {
        Some(last) if *last == b',' => *last = end,
        _ => out.push(end),
    }
}

/// A member that is known to need no escapes.
#[inline]
fn word(out: &mut Vec<u8>, key: &[u8], word: &str) {
    out.extend_from_slice(key);
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",");
}

#[inline]
fn text(out: &mut Vec<u8>, key: &[u8], text: &str) -> Result<(), Error> {
    if is_plain(text.as_bytes()) {
        word(out, key, text);
        return Ok(());
    }
    out.extend_from_slice(key);
    serde_json::to_writer(&mut *out, text)?;
    out.push(b',');
    Ok(())
}

#[inline]
fn text_if(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) -> Result<(), Error> {
    value.map_or(Ok(()), |value| text(out, key, value))
}

#[inline]
fn number(out: &mut Vec<u8>, key: &[u8], number: u64) -> Result<(), Error> {
    out.extend_from_slice(key);
    serde_json::to_writer(&mut *out, &number)?;
    out.push(b',');
    Ok(())
}

#[inline]
fn number_if(out: &mut Vec<u8>, key: &[u8], value: Option<impl Into<u64>>) -> Result<(), Error> {
    value.map_or(Ok(()), |value| number(out, key, value.into()))
}

/// A member that is left out when it is false.
#[inline]
fn flag(out: &mut Vec<u8>, key: &[u8], is_set: bool) {
    if is_set {
        out.extend_from_slice(key);
        out.extend_from_slice(b"true,");
    }
}

/// A member that is left out when it has no items.
fn list<T>(
    out: &mut Vec<u8>,
    key: &[u8],
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T) -> Result<(), Error>,
) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(key);
    out.push(b'[');
    for item in items {
        write(out, item)?;
        out.push(b',');
    }
    close(out, b']');
    out.push(b',');
    Ok(())
}

/// A string in quotes, without a comma.
fn string(out: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    if is_plain(text.as_bytes()) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return Ok(());
    }
    serde_json::to_writer(out, text)
}

/// Whether nothing in a string must be escaped in JSON: no quote, backslash or control character
/// below U+0020 (RFC 8259 section 7).
fn is_plain(text: &[u8]) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let are_plain = |words: &[[u8; 8]]| words.iter().all(|word| is_plain_word(*word));
    if rest.is_empty() {
        return are_plain(words);
    }
    // What is left is looked at with some of the bytes before it, or filled up.
    let last = text.last_chunk::<8>().copied().unwrap_or_else(|| {
        let mut filled = [b' '; 8];
        filled
            .iter_mut()
            .zip(rest)
            .for_each(|(to, from)| *to = *from);
        filled
    });
    are_plain(words) && is_plain_word(last)
}

/// The same for eight bytes at once. The borrow of a byte may make the next one look as if it had
/// to be escaped, but only if that byte itself must be.
#[inline]
fn is_plain_word(bytes: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    const QUOTES: u64 = u64::from_ne_bytes([b'"'; 8]);
    const BACKSLASHES: u64 = u64::from_ne_bytes([b'\\'; 8]);
    const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
    let word = u64::from_ne_bytes(bytes);
    let below_space = word.wrapping_sub(SPACES) & !word;
    let quotes = (word ^ QUOTES).wrapping_sub(ONES) & !(word ^ QUOTES);
    let backslashes = (word ^ BACKSLASHES).wrapping_sub(ONES) & !(word ^ BACKSLASHES);
    (below_space | quotes | backslashes) & TOPS == 0
}

#[cfg(test)]
mod tests;
