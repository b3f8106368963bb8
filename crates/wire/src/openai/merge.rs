//! Merges the chunks of a completion into the answer that would have come without streaming.
//!
//! What a member is decides how its pieces are joined: texts that a model writes grow, calls are
//! found by their index, of all else the last that says something stays. Members nobody knows yet
//! are therefore kept, too.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::json::{self, Kind};
use crate::repeat::Open;

/// Most members of one object, and most indexed elements of one array; further ones are dropped.
const MAX_MEMBERS: usize = 512;

/// An object that is being put together; members in the order in which they came first.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<(Box<str>, Field)>);

#[derive(Debug)]
enum Field {
    /// JSON as it came.
    Raw(Box<str>),
    /// A text that grows.
    Text(String),
    /// Elements of an array that grows: JSON, joined by commas.
    List(String),
    Object(Fields),
    /// Objects with an `index`.
    Indexed(Vec<(u64, Fields)>),
}

/// What may differ in a row of events that are the same otherwise.
#[derive(Debug, Default)]
pub(super) struct Row<'j> {
    /// The values that may differ.
    pub(super) open: Vec<Open<'j>>,
    /// Where the one text among them goes: positions from the top.
    pub(super) place: Option<Vec<usize>>,
    /// The place that is looked at.
    path: Vec<usize>,
}

/// How the pieces of a member are joined.
enum Rule {
    /// The last piece that is not empty stays.
    Keep,
    /// Texts are concatenated, and arrays.
    Grow,
    /// As `Grow`, but the same text again adds nothing: providers send it once, again, or in parts.
    Name,
    /// Arrays are concatenated.
    Append,
    /// Objects are merged.
    Nested,
    /// Arrays of objects are merged by their `index`.
    Indexed,
    /// Padding against traffic analysis; it is no part of the answer.
    Drop,
}

fn rule(name: &str) -> Rule {
    match name {
        "choices" | "tool_calls" => Rule::Indexed,
        "delta"
        | "function"
        | "function_call"
        | "audio"
        | "logprobs"
        | "content_filter_results"
        | "x_groq" => Rule::Nested,
        "content" | "text" | "refusal" | "reasoning" | "reasoning_content" | "arguments"
        | "transcript" | "data" | "response" => Rule::Grow,
        "name" => Rule::Name,
        "annotations" | "images" | "reasoning_details" | "tokens" | "token_logprobs"
        | "top_logprobs" | "text_offset" => Rule::Append,
        "obfuscation" | "p" => Rule::Drop,
        _ => Rule::Keep,
    }
}

impl Fields {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Merges one member of a chunk; returns whether it brought content.
    pub(super) fn merge(&mut self, name: &str, value: &RawValue) -> bool {
        match (rule(name), json::kind(value)) {
            (Rule::Drop, _) => false,
            (Rule::Grow, Kind::Text) => self.grow(name, &json::text(value).unwrap_or_default()),
            (Rule::Name, Kind::Text) => {
                let piece = json::text(value).unwrap_or_default();
                let known = self.position(name).map(|at| &self.0[at].1);
                let is_known = matches!(known, Some(Field::Text(text)) if *text == piece);
                !is_known && self.grow(name, &piece)
            }
            (Rule::Grow | Rule::Append, Kind::Array) => self.append(name, value),
            (Rule::Nested, Kind::Object) => self.nest(name, value),
            (Rule::Indexed, Kind::Array) => self.index(name, value),
            (
                Rule::Keep | Rule::Grow | Rule::Name | Rule::Append | Rule::Nested | Rule::Indexed,
                _,
            ) => {
                self.keep(name, value);
                false
            }
        }
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| **known == *name)
    }

    /// The field of this name; made by `new` where there is none or only JSON that says nothing.
    fn field(&mut self, name: &str, new: fn() -> Field) -> Option<&mut Field> {
        let at = match self.position(name) {
            Some(at) => at,
            None if self.0.len() < MAX_MEMBERS => {
                self.0.push((name.into(), new()));
                self.0.len() - 1
            }
            None => return None,
        };
        let (_, field) = self.0.get_mut(at)?;
        if let Field::Raw(_) = field {
            *field = new();
        }
        Some(field)
    }

    fn keep(&mut self, name: &str, value: &RawValue) {
        let value = value.get();
        let is_full = self.0.len() >= MAX_MEMBERS;
        match self.0.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, Field::Raw(known))) if **known != *value && !says_nothing(value) => {
                *known = value.into();
            }
            None if !is_full => self.0.push((name.into(), Field::Raw(value.into()))),
            Some(_) | None => {}
        }
    }

    fn grow(&mut self, name: &str, piece: &str) -> bool {
        match self.field(name, || Field::Text(String::new())) {
            Some(Field::Text(text)) => text.push_str(piece),
            // Mistral's thinking models send parts, then plain text.
            Some(Field::List(list)) if !piece.is_empty() => push_text_part(list, piece),
            Some(Field::Raw(_) | Field::List(_) | Field::Object(_) | Field::Indexed(_)) | None => {}
        }
        !piece.is_empty()
    }

    fn append(&mut self, name: &str, array: &RawValue) -> bool {
        let array = array.get();
        let inner = array
            .get(1..array.len().saturating_sub(1))
            .unwrap_or_default()
            .trim_ascii();
        let Some(field) = self.field(name, || Field::List(String::new())) else {
            return false;
        };
        if let Field::Text(text) = field {
            let mut list = String::new();
            if !text.is_empty() {
                push_text_part(&mut list, text);
            }
            *field = Field::List(list);
        }
        if let Field::List(list) = field
            && !inner.is_empty()
        {
            push_element(list, inner);
        }
        !inner.is_empty()
    }

    fn nest(&mut self, name: &str, object: &RawValue) -> bool {
        let mut has_content = false;
        if let Some(Field::Object(fields)) = self.field(name, || Field::Object(Self::default())) {
            json::each_member(object.get().as_bytes(), |name, value| {
                has_content |= fields.merge(&name, value);
            });
        }
        has_content
    }

    fn index(&mut self, name: &str, array: &RawValue) -> bool {
        let mut has_content = false;
        if let Some(Field::Indexed(elements)) = self.field(name, || Field::Indexed(Vec::new())) {
            json::each_element(array.get().as_bytes(), |element| {
                let members = json::members(element.get().as_bytes());
                let index = json::member(&members, "index").and_then(json::count);
                let Some(fields) = element_of(elements, index, json::member(&members, "id")) else {
                    return;
                };
                for (name, value) in members.iter().filter(|(name, _)| name != "index") {
                    has_content |= fields.merge(name, value);
                }
            });
        }
        has_content
    }

    /// Finds the places in an event, of which `members` were merged just now, that may differ in
    /// the next one without any other change than in the text at `place`. `None` when to merge the
    /// same members again would change more than the one text.
    pub(super) fn open<'j>(
        &self,
        members: &[(Cow<'j, str>, &'j RawValue)],
        row: &mut Row<'j>,
    ) -> Option<()> {
        for (name, value) in members {
            let value = *value;
            match (rule(name), json::kind(value)) {
                (Rule::Drop, _) => row.open.push(Open::Unread(value)),
                (Rule::Grow, Kind::Text) if value.get() == "\"\"" => {}
                (Rule::Grow, Kind::Text) => {
                    let at = self.position(name)?;
                    let (_, Field::Text(_)) = self.0.get(at)? else {
                        return None;
                    };
                    if row.place.is_some() {
                        return None;
                    }
                    row.open.push(Open::Text(value));
                    row.path.push(at);
                    row.place = Some(row.path.clone());
                    row.path.pop();
                }
                (Rule::Nested, Kind::Object) => {
                    let at = self.position(name)?;
                    let (_, Field::Object(fields)) = self.0.get(at)? else {
                        return None;
                    };
                    row.path.push(at);
                    fields.open(&json::members(value.get().as_bytes()), row)?;
                    row.path.pop();
                }
                (Rule::Indexed, Kind::Array) => self.open_elements(name, value, row)?,
                (Rule::Name, Kind::Text) | (Rule::Grow | Rule::Append, Kind::Array) => return None,
                (
                    Rule::Keep
                    | Rule::Grow
                    | Rule::Name
                    | Rule::Append
                    | Rule::Nested
                    | Rule::Indexed,
                    _,
                ) => {}
            }
        }
        Some(())
    }

    fn open_elements<'j>(&self, name: &str, array: &'j RawValue, row: &mut Row<'j>) -> Option<()> {
        let at = self.position(name)?;
        let (_, Field::Indexed(elements)) = self.0.get(at)? else {
            return None;
        };
        row.path.push(at);
        let mut opened = Some(());
        json::each_element(array.get().as_bytes(), |element| {
            let mut members = json::members(element.get().as_bytes());
            let index = json::member(&members, "index").and_then(json::count);
            members.retain(|(name, _)| name != "index");
            let at = elements.iter().position(|(known, _)| Some(*known) == index);
            opened = opened.and_then(|()| {
                let at = at?;
                row.path.push(at);
                elements.get(at)?.1.open(&members, row)?;
                row.path.pop();
                Some(())
            });
        });
        row.path.pop();
        opened
    }

    /// The text that the last [`Fields::open`] found at `path`.
    pub(super) fn text_at(&mut self, path: &[usize]) -> Option<&mut String> {
        let (first, rest) = path.split_first()?;
        let (_, field) = self.0.get_mut(*first)?;
        match (field, rest) {
            (Field::Text(text), []) => Some(text),
            (Field::Object(fields), rest) => fields.text_at(rest),
            (Field::Indexed(elements), [at, rest @ ..]) => elements.get_mut(*at)?.1.text_at(rest),
            (Field::Raw(_) | Field::Text(_) | Field::List(_) | Field::Indexed(_), _) => None,
        }
    }

    /// Why the choice of index 0 ended.
    pub(super) fn finish_reason(&self) -> Option<Box<str>> {
        let (_, choices) = self.0.iter().find(|(name, _)| **name == *"choices")?;
        let Field::Indexed(choices) = choices else {
            return None;
        };
        let (_, choice) = choices.iter().find(|(index, _)| *index == 0)?;
        let (_, reason) = choice
            .0
            .iter()
            .find(|(name, _)| **name == *"finish_reason")?;
        let Field::Raw(json) = reason else {
            return None;
        };
        serde_json::from_str(json).ok()
    }

    /// The whole answer as JSON.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write(&mut out, None);
        out
    }

    fn write(&self, out: &mut Vec<u8>, index: Option<u64>) {
        out.push(b'{');
        let mut is_first = true;
        if let Some(index) = index {
            out.extend_from_slice(format!("\"index\":{index}").as_bytes());
            is_first = false;
        }
        let has_delta = self.position("delta").is_some();
        for (name, field) in &self.0 {
            let name = match &**name {
                "delta" => "message",
                // Perplexity repeats the message so far beside each delta.
                "message" if has_delta => continue,
                name => name,
            };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            json::write_text(out, name);
            out.push(b':');
            field.write(name, out);
        }
        out.push(b'}');
    }

    /// Appends what the client was given to read.
    pub(super) fn collect_prose(&self, out: &mut String) {
        for (name, field) in &self.0 {
            match field {
                Field::Text(text) if json::is_prose(name) => out.push_str(text),
                Field::List(list) if json::is_prose(name) => {
                    json::collect_prose(format!("[{list}]").as_bytes(), out);
                }
                Field::Object(fields) if **name != *"logprobs" => fields.collect_prose(out),
                Field::Indexed(elements) => {
                    for (_, fields) in elements {
                        fields.collect_prose(out);
                    }
                }
                Field::Text(_) | Field::List(_) | Field::Object(_) | Field::Raw(_) => {}
            }
        }
    }
}

impl Field {
    fn write(&self, name: &str, out: &mut Vec<u8>) {
        match self {
            Self::Raw(json) if name == "object" && **json == *"\"chat.completion.chunk\"" => {
                json::write_text(out, "chat.completion");
            }
            Self::Raw(json) => out.extend_from_slice(json.as_bytes()),
            Self::Text(text) => json::write_text(out, text),
            Self::List(list) => {
                out.push(b'[');
                out.extend_from_slice(list.as_bytes());
                out.push(b']');
            }
            Self::Object(fields) => fields.write(out, None),
            Self::Indexed(elements) => {
                let mut in_order: Vec<_> = elements.iter().collect();
                in_order.sort_by_key(|(index, _)| *index);
                out.push(b'[');
                for (at, (index, fields)) in in_order.into_iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    // Only the index of a choice is told in an answer that is not streamed.
                    fields.write(out, (name == "choices").then_some(*index));
                }
                out.push(b']');
            }
        }
    }
}

/// The element a piece belongs to: by its index, else by its id, else the last one.
fn element_of<'e>(
    elements: &'e mut Vec<(u64, Fields)>,
    index: Option<u64>,
    id: Option<&RawValue>,
) -> Option<&'e mut Fields> {
    let known = match (index, id) {
        (Some(index), _) => elements.iter().position(|(known, _)| *known == index),
        (None, Some(id)) => elements.iter().position(|(_, fields)| {
            let at = fields.position("id");
            matches!(at.map(|at| &fields.0[at].1), Some(Field::Raw(known)) if **known == *id.get())
        }),
        (None, None) => elements.len().checked_sub(1),
    };
    let at = match known {
        Some(at) => at,
        None if elements.len() < MAX_MEMBERS => {
            let next = elements
                .iter()
                .map(|(index, _)| index.saturating_add(1))
                .max();
            elements.push((index.or(next).unwrap_or(0), Fields::default()));
            elements.len() - 1
        }
        None => return None,
    };
    elements.get_mut(at).map(|(_, fields)| fields)
}

/// Azure's filter chunks carry empty ids, models and times, which are not those of the answer.
fn says_nothing(json: &str) -> bool {
    matches!(json, "null" | "\"\"" | "0" | "{}" | "[]")
}

fn push_element(list: &mut String, json: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(json);
}

fn push_text_part(list: &mut String, text: &str) {
    let mut part = br#"{"type":"text","text":"#.to_vec();
    json::write_text(&mut part, text);
    part.push(b'}');
    push_element(list, &String::from_utf8_lossy(&part));
}
