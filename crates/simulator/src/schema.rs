//! Values that fit a JSON Schema, for structured answers and tool arguments.
//!
//! Knows the keywords that providers accept for structured output; others are ignored.

use serde_json::{Map, Number, Value, json};

use crate::text::{Rng, phrase, uuid};

/// Schemas nest at most this deep here; a recursive one ends with `null`.
const DEPTH: u8 = 12;

/// A value that fits `schema`. References (`$ref`) are looked up in the same document.
pub(crate) fn sample(schema: &Value, rng: &mut Rng) -> Value {
    value(schema, schema, rng, DEPTH)
}

/// What a model answers in JSON mode when no schema is given.
pub(crate) fn free_form(rng: &mut Rng) -> Value {
    json!({
        "answer": crate::text::sentence(rng),
        "confidence": f64::from(u8::try_from(50 + rng.below(50)).unwrap_or(50)) / 100.0,
        "topics": [phrase(rng), phrase(rng)],
    })
}

fn value(schema: &Value, root: &Value, rng: &mut Rng, depth: u8) -> Value {
    if depth == 0 {
        return Value::Null;
    }
    if let Some(fixed) = schema.get("const") {
        return fixed.clone();
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return pick(choices, rng);
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let target = root
            .pointer(target.trim_start_matches('#'))
            .unwrap_or(&Value::Null);
        return value(target, root, rng, depth - 1);
    }
    for key in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema
            .get(key)
            .and_then(Value::as_array)
            .and_then(|any| any.first())
        {
            return value(first, root, rng, depth - 1);
        }
    }
    match kind(schema) {
        "object" => object(schema, root, rng, depth),
        "array" => array(schema, root, rng, depth),
        "integer" => integer(schema, rng).into(),
        "number" => number(schema, rng),
        "boolean" => (rng.below(2) == 0).into(),
        "null" => Value::Null,
        _ => string(schema, rng).into(),
    }
}

/// The schema's type in lower case letters: the first of several that is not `null`.
fn kind(schema: &Value) -> &'static str {
    const KINDS: [&str; 6] = ["object", "array", "integer", "number", "boolean", "string"];
    let named = |value: &Value| {
        let name = value.as_str()?;
        KINDS
            .into_iter()
            .find(|kind| kind.eq_ignore_ascii_case(name))
    };
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().find_map(named).unwrap_or("null"),
        Some(one)
            if one
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case("null")) =>
        {
            "null"
        }
        Some(one) => named(one).unwrap_or("string"),
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

fn pick(choices: &[Value], rng: &mut Rng) -> Value {
    let count = u64::try_from(choices.len()).unwrap_or(1).max(1);
    let index = usize::try_from(rng.below(count)).unwrap_or(0);
    choices.get(index).cloned().unwrap_or(Value::Null)
}

fn object(schema: &Value, root: &Value, rng: &mut Rng, depth: u8) -> Value {
    let mut members = Map::new();
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, member) in properties {
            members.insert(name.clone(), value(member, root, rng, depth - 1));
        }
    }
    Value::Object(members)
}

fn array(schema: &Value, root: &Value, rng: &mut Rng, depth: u8) -> Value {
    let least = schema
        .get("minItems")
        .and_then(Value::as_u64)
        .unwrap_or(1)
        .min(64);
    let most = schema
        .get("maxItems")
        .and_then(Value::as_u64)
        .unwrap_or(least.max(2));
    let length = least.max(1 + rng.below(2)).min(most);
    let item = schema.get("items").unwrap_or(&Value::Null);
    (0..length)
        .map(|_| value(item, root, rng, depth - 1))
        .collect()
}

fn integer(schema: &Value, rng: &mut Rng) -> i64 {
    let least = schema.get("minimum").and_then(Value::as_i64).unwrap_or(1);
    let most = schema
        .get("maximum")
        .and_then(Value::as_i64)
        .unwrap_or(least.saturating_add(40));
    let span = u64::try_from(most.saturating_sub(least))
        .unwrap_or(0)
        .saturating_add(1);
    least.saturating_add(i64::try_from(rng.below(span.max(1))).unwrap_or(0))
}

fn number(schema: &Value, rng: &mut Rng) -> Value {
    let least = schema.get("minimum").and_then(Value::as_f64).unwrap_or(0.0);
    let most = schema
        .get("maximum")
        .and_then(Value::as_f64)
        .unwrap_or(least + 10.0);
    let share = f64::from(u16::try_from(rng.below(100)).unwrap_or(0)) / 100.0;
    let exact = least + (most - least) * share;
    let rounded = (exact * 100.0).round() / 100.0;
    Number::from_f64(rounded.clamp(least.min(most), most)).map_or(Value::Null, Value::Number)
}

fn string(schema: &Value, rng: &mut Rng) -> String {
    let format = schema
        .get("format")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let day = 10 + rng.below(18);
    match format {
        "date-time" => format!("2026-03-{day}T09:30:00Z"),
        "date" => format!("2026-03-{day}"),
        "time" => "09:30:00Z".to_owned(),
        "duration" => format!("PT{day}M"),
        "email" => "someone@example.com".to_owned(),
        "hostname" => "host.example.com".to_owned(),
        "ipv4" => format!("192.0.2.{day}"),
        "ipv6" => format!("2001:db8::{day}"),
        "uri" | "url" => "https://example.com/report".to_owned(),
        "uuid" => uuid(rng.next()),
        _ => sized(schema, phrase(rng)),
    }
}

fn sized(schema: &Value, text: String) -> String {
    let bound = |key| {
        schema
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok())
    };
    let least = bound("minLength").unwrap_or(0).min(4_096);
    let most = bound("maxLength").unwrap_or(usize::MAX);
    let missing = least.saturating_sub(text.chars().count());
    let padded = text + &"x".repeat(missing);
    padded.chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_every_property_in_its_type_and_bounds() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 30},
                "unit": {"enum": ["c", "f"]},
                "days": {"type": "integer", "minimum": 3, "maximum": 5},
                "share": {"type": "number", "minimum": 0, "maximum": 1},
                "tags": {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 3},
                "when": {"type": ["null", "string"], "format": "date"},
                "node": {"$ref": "#/$defs/node"},
                "kind": {"anyOf": [{"const": "x"}, {"type": "null"}]},
                "upper": {"type": "BOOLEAN"},
            },
            "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        });
        for seed in 0..50 {
            let sample = sample(&schema, &mut Rng::new(seed));
            assert!(sample["city"].as_str().unwrap().len() >= 30);
            assert!(["c", "f"].contains(&sample["unit"].as_str().unwrap()));
            assert!((3..=5).contains(&sample["days"].as_i64().unwrap()));
            assert!((0.0..=1.0).contains(&sample["share"].as_f64().unwrap()));
            let tags = sample["tags"].as_array().unwrap();
            assert_eq!(tags.len(), 3);
            assert!(tags.iter().all(|tag| tag.as_str().unwrap().len() <= 3));
            assert!(sample["when"].as_str().unwrap().starts_with("2026-03-"));
            assert!(sample["node"]["next"].is_object());
            assert_eq!(sample["kind"], "x");
            assert!(sample["upper"].is_boolean());
        }
    }
}
