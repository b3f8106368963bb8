//! A record's JSON without a serializer.
//!
//! A record has some fifty keys, numbers and short strings; serde looks at each of their bytes on
//! its own, which was most of what making the line cost. Here keys are copied, and strings too
//! once a look at eight bytes at a time has found nothing to escape. That the bytes are those of
//! [`Serialize`](serde::Serialize) is held by a property over all records.

use std::collections::BTreeMap;

use serde_json::Error;

use super::{Attempt, Body, Message, MetadataValue, Record, RecordError, Timing};
use crate::limit::Decision;
use crate::price::Cost;
use crate::usage::Usage;

/// A key with its quotes and colon.
macro_rules! key {
    ($name:literal) => {
        concat!('"', $name, "\":")
    };
}

/// The same with the quote that its text begins with.
macro_rules! text_key {
    ($name:literal) => {
        concat!('"', $name, "\":\"")
    };
}

// Whatever is written has a comma behind it, which the end of an object or a list takes back.

impl Record {
    /// Appends this record's JSON to `out`: what [`Serialize`](serde::Serialize) writes, but
    /// without an `event_id` that is the same as `id`, and without `review`.
    ///
    /// # Errors
    /// None that is known: serde's signature for what is left to it.
    pub fn write_json(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        self.write_place(out)?;
        self.write_call(out)?;
        self.write_result(out)?;
        out.extend_from_slice(b"\"request\":");
        self.request.write(out)?;
        out.extend_from_slice(b"\"response\":");
        self.response.write(out)?;
        close(out, b'}');
        out.pop();
        Ok(())
    }

    fn write_place(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut buffer = [0; 36];
        let id = self.id.encode(&mut buffer);
        word(out, text_key!("id"), id);
        if *self.event_id != *id {
            text(out, text_key!("event_id"), &self.event_id)?;
        }
        word(
            out,
            text_key!("created_at"),
            self.created_at.encode(&mut [0; 27]),
        );
        text(out, text_key!("account"), &self.account)?;
        text(out, text_key!("gateway"), &self.gateway)?;
        if self.config_revision > 0 {
            number_if(out, key!("config_revision"), Some(self.config_revision))?;
        }
        text_if(out, text_key!("provider"), self.provider.as_deref())?;
        text_if(out, text_key!("target"), self.target.as_deref())?;
        text_if(out, text_key!("resource"), self.resource.as_deref())?;
        text_if(out, text_key!("deployment"), self.deployment.as_deref())
    }

    fn write_call(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        word(out, text_key!("operation"), self.operation.as_str());
        let requested = self.model_requested.as_deref();
        text_if(out, text_key!("model_requested"), requested)?;
        text_if(out, text_key!("model"), self.model.as_deref())?;
        text(out, text_key!("method"), &self.method)?;
        text(out, text_key!("path"), &self.path)?;
        text(out, text_key!("http_version"), &self.http_version)?;
        number_if(out, key!("status"), self.status)?;
        word(out, text_key!("outcome"), self.outcome.as_str());
        if let Some(error) = &self.error {
            out.extend_from_slice(b"\"error\":");
            error.write(out)?;
        }
        list(out, key!("attempts"), &self.attempts, |out, attempt| {
            attempt.write(out)
        })?;
        out.extend_from_slice(b"\"timing\":");
        self.timing.write(out)?;
        flag(out, key!("stream"), self.stream);
        Ok(())
    }

    fn write_result(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some(usage) = &self.usage {
            out.extend_from_slice(b"\"usage\":");
            usage.write(out)?;
        }
        out.extend_from_slice(b"\"cost\":");
        self.cost.write(out)?;
        if let Some(cache) = &self.cache {
            out.extend_from_slice(b"\"cache\":");
            serde_json::to_writer(&mut *out, cache)?;
            out.push(b',');
        }
        list(out, key!("limits"), &self.limits, |out, decision| {
            decision.write(out)
        })?;
        text_if(
            out,
            text_key!("finish_reason"),
            self.finish_reason.as_deref(),
        )?;
        text_if(out, text_key!("provider_id"), self.provider_id.as_deref())?;
        write_metadata(out, &self.metadata)?;
        text_if(out, text_key!("token"), self.token.as_deref())?;
        text_if(out, text_key!("user_agent"), self.user_agent.as_deref())?;
        list(out, key!("notes"), &self.notes, |out, note| {
            out.push(b'"');
            string(out, note, b',')
        })?;
        if let Some(trace) = &self.trace {
            out.extend_from_slice(b"\"trace\":");
            serde_json::to_writer(&mut *out, trace)?;
            out.push(b',');
        }
        Ok(())
    }
}

impl RecordError {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text(out, text_key!("code"), &self.code)?;
        word(out, text_key!("blame"), self.blame.as_str());
        text(out, text_key!("message"), &self.message)?;
        close(out, b'}');
        Ok(())
    }
}

impl Decision {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text(out, text_key!("rule"), &self.rule)?;
        list(out, key!("bucket"), &self.bucket, |out, value| {
            match value {
                Some(value) => {
                    out.push(b'"');
                    string(out, value, b',')?;
                }
                None => out.extend_from_slice(b"null,"),
            }
            Ok(())
        })?;
        word(out, text_key!("unit"), self.unit.as_str());
        word(out, text_key!("verdict"), self.verdict.as_str());
        number(out, key!("limit"), self.limit)?;
        number(out, key!("before"), self.before)?;
        number(out, key!("reserved"), self.reserved)?;
        number(out, key!("charged"), self.charged)?;
        number(out, key!("after"), self.after)?;
        word(out, text_key!("at"), self.at.encode(&mut [0; 27]));
        close(out, b'}');
        Ok(())
    }
}

impl Attempt {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text(out, text_key!("target"), &self.target)?;
        number_if(out, key!("step"), (self.step > 0).then_some(self.step))?;
        number_if(
            out,
            key!("wait_us"),
            (self.wait_us > 0).then_some(self.wait_us),
        )?;
        text_if(out, text_key!("wait_reason"), self.wait_reason.as_deref())?;
        number_if(out, key!("status"), self.status)?;
        text_if(out, text_key!("error"), self.error.as_deref())?;
        text_if(out, text_key!("cause"), self.cause.as_deref())?;
        text_if(out, text_key!("cancelled_by"), self.cancelled_by.as_deref())?;
        number(out, key!("started_us"), self.started_us)?;
        number(out, key!("connect_us"), self.connect_us)?;
        number_if(out, key!("ttfb_us"), self.ttfb_us)?;
        flag(out, key!("reused"), self.reused);
        if let Some(cost) = &self.cost {
            out.extend_from_slice(b"\"cost\":");
            cost.write(out)?;
        }
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
        Ok(())
    }
}

impl Cost {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        word(out, text_key!("status"), self.status.as_str());
        match self.nanousd {
            Some(nanousd) => number(out, key!("nanousd"), nanousd)?,
            None => out.extend_from_slice(b"\"nanousd\":null,"),
        }
        text_if(out, text_key!("price"), self.price.as_deref())?;
        close(out, b'}');
        Ok(())
    }
}

impl Message {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        text_if(out, text_key!("content_type"), self.content_type.as_deref())?;
        let encoding = self.content_encoding.as_deref();
        text_if(out, text_key!("content_encoding"), encoding)?;
        number(out, key!("bytes"), self.bytes)?;
        if let Some(body) = &self.body {
            out.extend_from_slice(b"\"body\":");
            body.write(out)?;
        }
        if let Some(omitted) = self.omitted {
            word(out, text_key!("omitted"), omitted.as_str());
        }
        if let Some(raw) = &self.raw {
            out.extend_from_slice(b"\"raw\":");
            raw.write(out)?;
        }
        list(
            out,
            key!("chunk_times_us"),
            &self.chunk_times_us,
            |out, us| digits(out, u64::from(*us)),
        )?;
        let events = (self.events > 0).then_some(self.events);
        number_if(out, key!("events"), events)?;
        close(out, b'}');
        Ok(())
    }
}

impl Body {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        match self {
            Self::Json(raw) => {
                out.extend_from_slice(b"\"json\":");
                out.extend_from_slice(raw.get().as_bytes());
                out.push(b',');
            }
            Self::Text(whole) => text(out, text_key!("text"), whole)?,
            Self::Base64(base64) => text(out, text_key!("base64"), base64)?,
        }
        close(out, b'}');
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
    out.extend_from_slice(b"\"metadata\":{");
    for (name, value) in metadata {
        out.push(b'"');
        string(out, name, b':')?;
        match value {
            MetadataValue::Text(text) => {
                out.push(b'"');
                string(out, text, b',')?;
            }
            MetadataValue::Null | MetadataValue::Bool(_) | MetadataValue::Number(_) => {
                serde_json::to_writer(&mut *out, value)?;
                out.push(b',');
            }
        }
    }
    close(out, b'}');
    Ok(())
}

/// Ends an object or a list: `end` takes the place of the last comma, if there is one.
#[inline(always)]
fn close(out: &mut Vec<u8>, end: u8) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.extend_from_slice(&[end, b',']);
}

// Inlined, so that copying a key is a store or two and not a call.

/// A text that is known to need no escapes.
#[inline(always)]
fn word(out: &mut Vec<u8>, key: &'static str, word: &str) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(word.as_bytes());
    out.extend_from_slice(b"\",");
}

#[inline(always)]
fn text(out: &mut Vec<u8>, key: &'static str, text: &str) -> Result<(), Error> {
    out.extend_from_slice(key.as_bytes());
    string(out, text, b',')
}

#[inline(always)]
fn text_if(out: &mut Vec<u8>, key: &'static str, value: Option<&str>) -> Result<(), Error> {
    match value {
        Some(value) => text(out, key, value),
        None => Ok(()),
    }
}

#[inline(always)]
fn number(out: &mut Vec<u8>, key: &'static str, number: u64) -> Result<(), Error> {
    out.extend_from_slice(key.as_bytes());
    digits(out, number)
}

#[inline(always)]
fn number_if(
    out: &mut Vec<u8>,
    key: &'static str,
    value: Option<impl Into<u64>>,
) -> Result<(), Error> {
    match value {
        Some(value) => number(out, key, value.into()),
        None => Ok(()),
    }
}

/// A member that is left out when it is false.
#[inline(always)]
fn flag(out: &mut Vec<u8>, key: &'static str, is_set: bool) {
    if is_set {
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"true,");
    }
}

/// A member that is left out when it has no items.
fn list<T>(
    out: &mut Vec<u8>,
    key: &'static str,
    items: &[T],
    write: impl Fn(&mut Vec<u8>, &T) -> Result<(), Error>,
) -> Result<(), Error> {
    if items.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(key.as_bytes());
    out.push(b'[');
    for item in items {
        write(out, item)?;
    }
    close(out, b']');
    Ok(())
}

fn digits(out: &mut Vec<u8>, number: u64) -> Result<(), Error> {
    if let Ok(digit) = u8::try_from(number)
        && digit < 10
    {
        out.extend_from_slice(&[b'0' + digit, b',']);
        return Ok(());
    }
    serde_json::to_writer(&mut *out, &number)?;
    out.push(b',');
    Ok(())
}

/// A string whose first quote is there, its last quote, and `behind`.
fn string(out: &mut Vec<u8>, text: &str, behind: u8) -> Result<(), Error> {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&[b'"', behind]);
        return Ok(());
    }
    out.pop();
    serde_json::to_writer(&mut *out, text)?;
    out.push(behind);
    Ok(())
}

/// Whether nothing in a string must be escaped in JSON: no quote, backslash or control character
/// below U+0020 (RFC 8259 section 7).
fn is_plain(text: &[u8]) -> bool {
    // The last word of a text may hold bytes that were looked at before.
    if let Some(last) = text.last_chunk::<8>() {
        let (words, _) = text.as_chunks::<8>();
        return words.iter().all(|word| is_plain_word(*word)) && is_plain_word(*last);
    }
    match (text.first_chunk(), text.last_chunk()) {
        (Some([a, b, c, d]), Some([e, f, g, h])) => is_plain_word([*a, *b, *c, *d, *e, *f, *g, *h]),
        _ => text
            .iter()
            .all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\'),
    }
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
