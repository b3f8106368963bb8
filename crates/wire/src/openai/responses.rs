//! Streams of the Responses API: the last event carries the whole answer; of a cut stream, it is
//! put together from the items that are done and what came of the one that is not.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::{self, count_searches};
use super::{identify, member_of};
use crate::json::{self, Kind};
use crate::read::Reading;

/// Most items of one answer; further ones are dropped.
const MAX_ITEMS: usize = 4_096;

/// The state of one stream.
#[derive(Debug, Default)]
pub(super) struct Responses {
    /// The last `response` object that came.
    response: Option<Box<str>>,
    /// The `response` object is the final one.
    is_final: bool,
    /// Items by `output_index`.
    items: BTreeMap<u64, Item>,
    text: String,
}

#[derive(Debug, Default)]
struct Item {
    json: Box<str>,
    is_done: bool,
    /// What its deltas brought, while it is not done.
    text: String,
}

impl Responses {
    pub(super) fn has_begun(&self) -> bool {
        self.response.is_some() || !self.items.is_empty()
    }

    /// Takes an event whose type is `kind`; returns whether it brings content.
    pub(super) fn event(
        &mut self,
        kind: &str,
        members: &[(Cow<'_, str>, &RawValue)],
        out: &mut Reading,
    ) -> bool {
        let member = |name| json::member(members, name);
        if kind.ends_with(".delta") {
            let delta = member("delta").and_then(json::text).unwrap_or_default();
            if kind != "response.audio.delta" {
                self.text.push_str(&delta);
                if let Some(item) = self.item(member("output_index")) {
                    item.text.push_str(&delta);
                }
            }
            return !delta.is_empty();
        }
        if let Some(response) = member("response").filter(|value| json::kind(value) == Kind::Object)
        {
            self.is_final = matches!(
                kind,
                "response.completed"
                    | "response.incomplete"
                    | "response.failed"
                    | "response.cancelled"
            );
            self.response = Some(response.get().into());
            self.identify(response, out);
        } else if let Some(json) = member("item").map(|item| Box::<str>::from(item.get()))
            && let Some(item) = self.item(member("output_index"))
        {
            item.json = json;
            item.is_done = kind.ends_with(".done");
        }
        kind.ends_with(".partial_image")
    }

    fn item(&mut self, output_index: Option<&RawValue>) -> Option<&mut Item> {
        let index = output_index.and_then(json::count).unwrap_or(0);
        let has_room = self.items.len() < MAX_ITEMS;
        match self.items.entry(index) {
            std::collections::btree_map::Entry::Occupied(known) => Some(known.into_mut()),
            std::collections::btree_map::Entry::Vacant(new) if has_room => {
                Some(new.insert(Item::default()))
            }
            std::collections::btree_map::Entry::Vacant(_) => None,
        }
    }

    fn identify(&self, response: &RawValue, out: &mut Reading) {
        // Until the end, the status is that of the moment.
        out.finish_reason = None;
        json::each_member(response.get().as_bytes(), |name, value| match &*name {
            "model" | "id" => {
                identify(&name, value, out);
            }
            "status" | "incomplete_details" if self.is_final => {
                identify(&name, value, out);
            }
            "usage" => {
                let usage = usage::read(isango_types::Operation::Responses, value);
                out.usage = usage.or(out.usage);
            }
            "error" if json::kind(value) == Kind::Object => {
                out.error_code = member_of(value, "code").and_then(json::label);
            }
            _ => {}
        });
        if let (Some(usage), Some(output)) = (&mut out.usage, member_of(response, "output")) {
            usage.searches = count_searches(output);
        }
    }

    /// The answer as it would have come without streaming.
    pub(super) fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        out.delivered_text = self.text;
        if let (true, Some(response)) = (self.is_final, &self.response) {
            return Some(response.as_bytes().to_vec());
        }
        let known = self
            .response
            .as_deref()
            .and_then(|json| serde_json::from_str(json).ok());
        let mut response = known.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let output = self
            .items
            .into_values()
            .filter_map(Item::into_json)
            .collect();
        response
            .as_object_mut()?
            .insert("output".to_owned(), Value::Array(output));
        serde_json::to_vec(&response).ok()
    }
}

impl Item {
    /// The item; what came of one that is not done stands where it would stand in the whole one.
    fn into_json(self) -> Option<Value> {
        let mut json: Value = serde_json::from_str(&self.json).ok()?;
        if self.is_done || self.text.is_empty() {
            return Some(json);
        }
        let item = json.as_object_mut()?;
        let (name, value) = match item.get("type").and_then(Value::as_str) {
            Some("message") => (
                "content",
                serde_json::json!([{"type": "output_text", "annotations": [], "text": self.text}]),
            ),
            Some("reasoning") => (
                "summary",
                serde_json::json!([{"type": "summary_text", "text": self.text}]),
            ),
            Some("custom_tool_call") => ("input", self.text.into()),
            Some("code_interpreter_call") => ("code", self.text.into()),
            Some(_) | None => ("arguments", self.text.into()),
        };
        item.insert(name.to_owned(), value);
        Some(json)
    }
}
