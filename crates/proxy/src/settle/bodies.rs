//! Both bodies, as a record holds them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use isango_types::record::{Body, Message, Omitted};
use isango_wire::body::{Kept, read_body};
use isango_wire::form;
use isango_wire::read::{Decoded, Reading};

use super::text;
use crate::capture::Capture;
use crate::exchange::Draft;

const MULTIPART: &str = "multipart/form-data";

/// The request's body, as it was kept.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) chunks: Vec<Bytes>,
    total: u64,
    pub(super) omitted: Option<Omitted>,
}

impl Sent {
    pub(super) fn of(capture: Option<&mut Capture>) -> Self {
        capture.map_or_else(Self::default, |capture| Self {
            chunks: capture.take_chunks(),
            total: capture.total(),
            omitted: capture.omitted(),
        })
    }
}

/// The model that an upload names; nothing else of it is read.
pub(super) fn model_of_form(draft: &Draft, asked: &Sent) -> Option<Box<str>> {
    let content_type = draft.request_type.as_ref().and_then(text)?;
    let kind = content_type.get(..MULTIPART.len())?;
    if !kind.eq_ignore_ascii_case(MULTIPART) {
        return None;
    }
    form::field(&asked.chunks.concat(), "model").map(Into::into)
}

/// Whether the record holds bodies.
pub(super) fn keeps_payload(draft: &Draft) -> bool {
    let of_gateway = draft
        .route
        .as_ref()
        .is_none_or(|route| route.gateway.collect_log_payload);
    draft.options.collect_log_payload.unwrap_or(of_gateway)
}

pub(super) fn request(
    draft: &Draft,
    asked: Sent,
    payload: bool,
    notes: &mut Vec<Box<str>>,
) -> Message {
    let Sent {
        chunks,
        total,
        mut omitted,
    } = asked;
    let encoding = draft.request_encoding.as_ref().and_then(text);
    let body = match (total, payload) {
        (0, _) => None,
        (_, false) => {
            omitted = Some(Omitted::PayloadOff);
            None
        }
        (_, true) => {
            let kept = match omitted {
                Some(_) => Kept::Part,
                None if draft.is_json && encoding.is_none() => Kept::Json,
                None => Kept::Whole,
            };
            let (body, trouble) = read_body(&chunks, encoding, kept);
            notes.extend(trouble.map(|trouble| format!("request {trouble}").into()));
            Some(to_body(bounded(body, max_body_bytes(draft), &mut omitted)))
        }
    };
    Message {
        content_type: draft.request_type.as_ref().and_then(text).map(Into::into),
        content_encoding: encoding.map(Into::into),
        bytes: total,
        body,
        omitted,
        ..Message::default()
    }
}

pub(super) fn response(draft: &Draft, reading: Reading, payload: bool) -> Message {
    let bytes = draft.response.total();
    let mut omitted = draft.response.omitted();
    let (mut body, mut raw) = (None, None);
    if bytes > 0 && payload {
        let limit = max_body_bytes(draft);
        body = reading
            .body
            .map(|body| to_body(bounded(body, limit, &mut omitted)));
        raw = reading.raw.map(|frames| {
            let frames = String::from_utf8(frames).map_or_else(
                |not_text| Decoded::Bytes(not_text.into_bytes()),
                Decoded::Text,
            );
            to_body(bounded(frames, limit, &mut omitted))
        });
    } else if bytes > 0 {
        omitted = Some(Omitted::PayloadOff);
    }
    Message {
        content_type: draft.response_type.as_ref().and_then(text).map(Into::into),
        content_encoding: draft
            .response_encoding
            .as_ref()
            .and_then(text)
            .map(Into::into),
        bytes,
        body,
        omitted,
        raw,
        chunk_times_us: match reading.is_stream {
            true => draft.response.times_us().to_vec(),
            false => Vec::new(),
        },
        events: reading.events,
    }
}

/// How much of a body the record of this exchange holds, in bytes.
fn max_body_bytes(draft: &Draft) -> usize {
    draft
        .route
        .as_ref()
        .map_or(usize::MAX, |route| route.gateway.max_record_body_bytes)
}

/// At most `limit` bytes of a body: what was kept of it may have been packed.
fn bounded(body: Decoded, limit: usize, omitted: &mut Option<Omitted>) -> Decoded {
    if body.as_bytes().len() <= limit {
        return body;
    }
    *omitted = Some(Omitted::TooLarge);
    match body {
        Decoded::Json(json) => Decoded::Text(beginning(json.get(), limit)),
        Decoded::Text(text) => Decoded::Text(beginning(&text, limit)),
        Decoded::Bytes(bytes) => Decoded::Bytes(bytes[..limit].to_vec()),
    }
}

fn beginning(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
}

fn to_body(decoded: Decoded) -> Body {
    match decoded {
        Decoded::Json(raw) => Body::Json(raw),
        Decoded::Text(text) => Body::Text(text.into()),
        Decoded::Bytes(bytes) => Body::Base64(STANDARD.encode(bytes).into()),
    }
}
