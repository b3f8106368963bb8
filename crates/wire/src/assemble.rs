//! What the formats share to put a whole answer together from the events of a stream: JSON
//! objects whose members keep their order and spelling, numbers as providers write them, and the
//! usage of a stream that broke off.

use std::borrow::Cow;

use isango_types::Usage;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::format::Event;
use crate::read::Reading;
use crate::{json, tokens};

/// How many members of an object are looked at; further ones are dropped. Keeps the work on a
/// hostile answer linear; real objects have less than thirty.
const MAX_MEMBERS: usize = 128;

/// The members of a JSON object, unread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Takes a JSON object apart; `None` when `json` is none.
    pub(crate) fn parse(json: &'a [u8]) -> Option<Self> {
        let mut members = Self::default();
        json::each_member(json, |name, raw| members.push(name, raw)).then_some(members)
    }

    /// Takes apart what there is of a JSON object that may be cut; `None` when that is nothing.
    pub(crate) fn parse_cut(json: &'a [u8]) -> Option<Self> {
        let mut members = Self::default();
        json::each_member(json, |name, raw| members.push(name, raw));
        (!members.0.is_empty()).then_some(members)
    }

    fn push(&mut self, name: Cow<'a, str>, raw: &'a RawValue) {
        if self.0.len() < MAX_MEMBERS {
            self.0.push((name, raw));
        }
    }

    /// The member `name`; `None` when it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a RawValue> {
        let (_, raw) = self.0.iter().find(|(known, _)| known == name)?;
        (raw.get() != "null").then_some(*raw)
    }

    /// The member `name` as a `T`; `None` when it is absent, null or of another type.
    pub(crate) fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The member `name` when it is a text.
    pub(crate) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        json::text(self.get(name)?)
    }

    /// The member `name` when it is an object.
    pub(crate) fn object(&self, name: &str) -> Option<Members<'a>> {
        Self::parse(self.get(name)?.get().as_bytes())
    }

    /// The objects in the array `name`, in order; nothing when it is no array.
    pub(crate) fn objects(&self, name: &str) -> Vec<Members<'a>> {
        let mut objects = Vec::new();
        if let Some(raw) = self.get(name) {
            json::each_element(raw.get().as_bytes(), |element| {
                objects.extend(Self::parse(element.get().as_bytes()));
            });
        }
        objects
    }

    /// The member `name` as a whole number: fractions are rounded; 0 when it is absent, negative
    /// or no number.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.get(name).map_or(0, |raw| number(raw.get()))
    }

    /// Whether there is a member `name` that is not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The members in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.0.iter().map(|(name, raw)| (&**name, *raw))
    }
}

/// A JSON object under construction: members in the order in which they first came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object(Vec<(Box<str>, Box<RawValue>)>);

impl Object {
    /// Whether no member came yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members, to be read.
    pub(crate) fn members(&self) -> Members<'_> {
        Members(
            self.0
                .iter()
                .map(|(name, raw)| (Cow::Borrowed(&**name), &**raw))
                .collect(),
        )
    }

    /// Takes over each of `members`: a later value replaces an earlier one, but null replaces
    /// nothing.
    pub(crate) fn merge(&mut self, members: &Members<'_>) {
        for (name, raw) in members.iter() {
            self.put(name, raw);
        }
    }

    /// Takes over one member, by the same rule.
    pub(crate) fn put(&mut self, name: &str, raw: &RawValue) {
        if let Some((_, value)) = self.0.iter_mut().find(|(known, _)| **known == *name) {
            if raw.get() != "null" {
                *value = raw.to_owned();
            }
        } else if self.0.len() < MAX_MEMBERS {
            self.0.push((name.into(), raw.to_owned()));
        }
    }

    /// Sets one member to `value` as JSON.
    pub(crate) fn set(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        if let Ok(raw) = to_raw_value(value) {
            self.put(name, &raw);
        }
    }

    /// Puts `more` behind the text of the member `name`.
    pub(crate) fn append(&mut self, name: &str, more: &str) {
        let mut text = self.members().text(name).unwrap_or_default().into_owned();
        text.push_str(more);
        self.set(name, &text);
    }

    /// Sets the member `name` to what `json` holds: itself when it is whole, else a text, so that
    /// the fragments of a tool call that broke off are kept.
    pub(crate) fn set_json(&mut self, name: &str, json: &str) {
        match serde_json::from_str::<&RawValue>(json) {
            Ok(raw) => self.put(name, raw),
            Err(_) => self.set(name, json),
        }
    }

    /// The object as JSON.
    pub(crate) fn into_json(self) -> Option<Vec<u8>> {
        serde_json::to_vec(&self).ok()
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, raw) in &self.0 {
            map.serialize_entry(&**name, &**raw)?;
        }
        map.end()
    }
}

/// Reads a JSON number as a whole one.
fn number(json: &str) -> u64 {
    let rounded = || {
        let number = json
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())?
            .round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast stops at 0 and at the largest number"
        )]
        Some(number as u64)
    };
    json.parse().ok().or_else(rounded).unwrap_or(0)
}

/// The members of an event; one that is no object is worth a note, unless it is the `[DONE]` with
/// which many streams end.
pub(crate) fn frame<'e>(event: &Event<'e>, out: &mut Reading) -> Option<Members<'e>> {
    let members = Members::parse(event.data);
    if members.is_none() && event.data != b"[DONE]" {
        out.note("an event of the stream is no JSON object");
    }
    members
}

/// Settles the usage of a stream that broke off before its provider told the final one: input as
/// told, output at least what was delivered by our count. Marked as estimated.
pub(crate) fn settle_cut(mut usage: Usage, out: &Reading) -> Usage {
    let model = out.model.as_deref().unwrap_or_default();
    let delivered = tokens::count(model, &out.delivered_text);
    let missing = delivered.saturating_sub(usage.total_output());
    usage.output = usage.output.saturating_add(missing);
    usage.estimated = true;
    usage
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_object_keeps_order_and_spelling() {
        let mut object = Object::default();
        object.merge(&Members::parse(br#"{"z":1.50,"a":null,"n":"x"}"#).unwrap());
        object.merge(&Members::parse(br#"{"b":[ 1 ],"z":null,"a":1e2,"n":"y"}"#).unwrap());
        object.append("n", "é");
        object.set_json("whole", r#"{"k":0.10}"#);
        object.set_json("cut", r#"{"k":0."#);
        assert_eq!(
            String::from_utf8(object.into_json().unwrap()).unwrap(),
            r#"{"z":1.50,"a":1e2,"n":"yé","b":[ 1 ],"whole":{"k":0.10},"cut":"{\"k\":0."}"#
        );
    }

    #[test]
    fn counts_are_read_however_they_are_written() {
        let json =
            br#"{"a":3,"b":3.6,"c":-1,"d":null,"e":"4","f":1e30,"g":{},"h":18446744073709551615}"#;
        let members = Members::parse(json).unwrap();
        let counts = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(|name| members.count(name));
        assert_eq!(counts, [3, 4, 0, 0, 0, u64::MAX, 0, u64::MAX, 0]);
    }

    #[test]
    fn members_beyond_the_bound_are_dropped() {
        let many: Vec<String> = (0..MAX_MEMBERS + 9)
            .map(|n| format!("\"m{n}\":{n}"))
            .collect();
        let json = format!("{{{}}}", many.join(","));
        let members = Members::parse(json.as_bytes()).unwrap();
        assert_eq!(members.iter().count(), MAX_MEMBERS);
        let mut object = Object::default();
        object.merge(&members);
        object.set("one more", "x");
        assert_eq!(object.members().iter().count(), MAX_MEMBERS);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn taking_apart_and_putting_together_changes_nothing(
            members in prop::collection::btree_map("[a-zé\"\\\\]{0,6}", "[ -~]{0,8}", 0..8),
        ) {
            let json = serde_json::to_vec(&members).unwrap();
            let mut object = Object::default();
            object.merge(&Members::parse(&json).unwrap());
            prop_assert_eq!(object.into_json().unwrap(), json);
        }
    }
}
