//! What OpenAI-shaped answers used, brought into disjoint buckets.

use isango_types::{Operation, Usage};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess};
use serde_json::value::RawValue;

use crate::json::{self, Fill, Kind, Take};

/// The counts as providers spell them. `prompt_tokens` and `completion_tokens` of chat are
/// `input_tokens` and `output_tokens` of Responses, images and audio.
#[derive(Default)]
pub(super) struct Counts {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    input_kinds: Kinds,
    output_kinds: Kinds,
    searches: u64,
    audio_ms: u64,
}

/// The kinds of tokens within a count.
#[derive(Default)]
struct Kinds {
    is_told: bool,
    cached: u64,
    cached_audio: u64,
    cache_write: u64,
    audio: u64,
    image: u64,
    reasoning: u64,
}

/// Reads a `usage` object; `None` when it counts nothing (`null`, `{}`).
///
/// The sum of the token buckets is the provider's total: a kind that claims more tokens than the
/// count that it is part of gets what is left.
pub(super) fn read(operation: Operation, usage: &RawValue) -> Option<Usage> {
    if json::kind(usage) != Kind::Object {
        return None;
    }
    let counts: Counts = serde_json::from_str(usage.get()).ok()?;
    counts.usage(operation)
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let mut counts = Self::default();
        Fill(&mut counts).deserialize(reader)?;
        Ok(counts)
    }
}

impl Take for Counts {
    fn take<'j, A: MapAccess<'j>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "prompt_tokens" | "input_tokens" => self.input = count(map)?.or(self.input),
            "completion_tokens" | "output_tokens" => self.output = count(map)?.or(self.output),
            "total_tokens" => self.total = count(map)?,
            "prompt_tokens_details" | "input_tokens_details" | "input_token_details" => {
                self.input_kinds.is_told |= map.next_value_seed(Fill(&mut self.input_kinds))?;
            }
            "completion_tokens_details" | "output_tokens_details" | "output_token_details" => {
                self.output_kinds.is_told |= map.next_value_seed(Fill(&mut self.output_kinds))?;
            }
            // DeepSeek; Moonshot and others.
            "prompt_cache_hit_tokens" | "cached_tokens" => {
                self.input_kinds.cached = self.input_kinds.cached.max(count(map)?.unwrap_or(0));
            }
            "reasoning_tokens" => {
                let reasoning = count(map)?.unwrap_or(0);
                self.output_kinds.reasoning = self.output_kinds.reasoning.max(reasoning);
            }
            // Perplexity; xAI and OpenRouter.
            "num_search_queries" => self.searches = count(map)?.unwrap_or(0),
            "server_side_tool_usage_details" | "server_tool_use" => {
                map.next_value_seed(Fill(&mut Searches(&mut self.searches)))?;
            }
            // Transcripts that are billed by duration; Mistral's audio.
            "seconds" | "prompt_audio_seconds" => {
                self.audio_ms = json::thousandths(map.next_value()?).unwrap_or(0);
            }
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The next value as a count.
fn count<'j, A: MapAccess<'j>>(map: &mut A) -> Result<Option<u64>, A::Error> {
    map.next_value().map(|json::Count(count)| count)
}

/// The web searches among the calls of tools.
struct Searches<'s>(&'s mut u64);

impl Take for Searches<'_> {
    fn take<'j, A: MapAccess<'j>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if matches!(name, "web_search_calls" | "web_search_requests") {
            *self.0 = count(map)?.unwrap_or(0);
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The tokens of audio among those of the cache.
struct CachedAudio<'c>(&'c mut u64);

impl Take for CachedAudio<'_> {
    fn take<'j, A: MapAccess<'j>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        if name == "audio_tokens" {
            *self.0 = count(map)?.unwrap_or(0);
        } else {
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl Counts {
    /// What was counted; `None` when nothing was.
    pub(super) fn usage(self, operation: Operation) -> Option<Usage> {
        let is_told = self.input.is_some() || self.output.is_some() || self.total.is_some();
        (is_told || self.audio_ms > 0).then(|| self.into_usage(operation))
    }

    fn into_usage(self, operation: Operation) -> Usage {
        let reasoning = self.output_kinds.reasoning;
        let total = self.total.unwrap_or(0);
        // Rerank and some embeddings tell their total only.
        let output = self.output.unwrap_or(0);
        let mut input_left = self.input.unwrap_or_else(|| total.saturating_sub(output));
        let input = input_left;
        // xAI counts reasoning beside `completion_tokens`, all others within: the total tells.
        let beside = total
            .saturating_sub(input.saturating_add(output))
            .min(reasoning);
        let mut output_left = output;

        let cached = take(&mut input_left, self.input_kinds.cached);
        let audio_cache_read = self.input_kinds.cached_audio.min(cached);
        let audio = self.input_kinds.audio.saturating_sub(audio_cache_read);
        let mut usage = Usage {
            cache_read: cached - audio_cache_read,
            audio_cache_read,
            cache_write: take(&mut input_left, self.input_kinds.cache_write),
            audio_input: take(&mut input_left, audio),
            image_input: take(&mut input_left, self.input_kinds.image),
            reasoning: beside.saturating_add(take(&mut output_left, reasoning - beside)),
            audio_output: take(&mut output_left, self.output_kinds.audio),
            image_output: take(&mut output_left, self.output_kinds.image),
            searches: self.searches,
            audio_ms: self.audio_ms,
            ..Usage::default()
        };
        usage.input = input_left;
        // Images and speech have one kind of output, and do not say which.
        if operation == Operation::Image && !self.output_kinds.is_told {
            usage.image_output = output_left;
        } else if operation == Operation::Speech && !self.output_kinds.is_told {
            usage.audio_output = output_left;
        } else {
            usage.output = output_left;
        }
        usage
    }
}

impl Take for Kinds {
    fn take<'j, A: MapAccess<'j>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "cached_tokens" => self.cached = self.cached.max(count(map)?.unwrap_or(0)),
            "cached_tokens_details" => {
                map.next_value_seed(Fill(&mut CachedAudio(&mut self.cached_audio)))?;
            }
            "cache_write_tokens" | "cache_creation_tokens" => {
                self.cache_write = count(map)?.unwrap_or(0);
            }
            "audio_tokens" => self.audio = count(map)?.unwrap_or(0),
            "image_tokens" => self.image = count(map)?.unwrap_or(0),
            "reasoning_tokens" => self.reasoning = self.reasoning.max(count(map)?.unwrap_or(0)),
            _ => {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Takes up to `wanted` from what is left.
fn take(left: &mut u64, wanted: u64) -> u64 {
    let taken = wanted.min(*left);
    *left -= taken;
    taken
}

/// Counts the web searches in the `output` of a Responses object; they are billed by piece.
pub(super) fn count_searches(output: &RawValue) -> u64 {
    let mut searches = 0;
    json::each_element(output.get().as_bytes(), |item| {
        let kind = super::member_of(item, "type").and_then(json::text);
        if kind.as_deref() == Some("web_search_call") && is_search(item) {
            searches += 1;
        }
    });
    searches
}

/// Opening and reading a page that was found is no search of its own.
fn is_search(call: &RawValue) -> bool {
    let action =
        super::member_of(call, "action").and_then(|action| super::member_of(action, "type"));
    action
        .and_then(json::text)
        .is_none_or(|action| action == "search")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(operation: Operation, json: &str) -> Option<Usage> {
        read(operation, serde_json::from_str(json).unwrap())
    }

    fn check(json: &str, expected: Usage) {
        assert_eq!(of(Operation::Chat, json), Some(expected), "{json}");
    }

    #[test]
    fn details_are_taken_out_of_their_counts() {
        check(
            r#"{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,
                "prompt_tokens_details":{"cached_tokens":40,"audio_tokens":10},
                "completion_tokens_details":{"reasoning_tokens":20,"audio_tokens":5,"accepted_prediction_tokens":3}}"#,
            Usage {
                input: 50,
                cache_read: 40,
                audio_input: 10,
                output: 25,
                reasoning: 20,
                audio_output: 5,
                ..Usage::default()
            },
        );
        check(
            r#"{"prompt_tokens":100,"completion_tokens":0,"prompt_tokens_details":{"cached_tokens":40,"audio_tokens":60,"cached_tokens_details":{"text_tokens":10,"audio_tokens":30}}}"#,
            Usage {
                input: 30,
                cache_read: 10,
                audio_cache_read: 30,
                audio_input: 30,
                ..Usage::default()
            },
        );
    }

    #[test]
    fn providers_that_spell_it_otherwise_are_understood() {
        // DeepSeek.
        check(
            r#"{"prompt_tokens":30,"completion_tokens":5,"total_tokens":35,"prompt_cache_hit_tokens":20,"prompt_cache_miss_tokens":10}"#,
            Usage {
                input: 10,
                cache_read: 20,
                output: 5,
                ..Usage::default()
            },
        );
        // xAI: reasoning beside the completion.
        check(
            r#"{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,"prompt_tokens_details":{"text_tokens":32,"audio_tokens":0,"image_tokens":0,"cached_tokens":6},"completion_tokens_details":{"reasoning_tokens":94}}"#,
            Usage {
                input: 26,
                cache_read: 6,
                output: 9,
                reasoning: 94,
                ..Usage::default()
            },
        );
        // Perplexity.
        check(
            r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10,"search_context_size":"low","num_search_queries":2}"#,
            Usage {
                input: 7,
                output: 3,
                searches: 2,
                ..Usage::default()
            },
        );
        // Rerank.
        check(
            r#"{"total_tokens":12}"#,
            Usage {
                input: 12,
                ..Usage::default()
            },
        );
        // Transcripts by duration.
        check(
            r#"{"type":"duration","seconds":9.5}"#,
            Usage {
                audio_ms: 9_500,
                ..Usage::default()
            },
        );
    }

    #[test]
    fn one_kind_of_output_is_told_by_the_operation() {
        let json = r#"{"input_tokens":10,"output_tokens":1000,"total_tokens":1010,"input_tokens_details":{"text_tokens":4,"image_tokens":6}}"#;
        let expected = Usage {
            input: 4,
            image_input: 6,
            image_output: 1000,
            ..Usage::default()
        };
        assert_eq!(of(Operation::Image, json), Some(expected));
        let json = r#"{"input_tokens":14,"output_tokens":101,"total_tokens":115}"#;
        let expected = Usage {
            input: 14,
            audio_output: 101,
            ..Usage::default()
        };
        assert_eq!(of(Operation::Speech, json), Some(expected));
    }

    #[test]
    fn nothing_told_is_no_usage() {
        for json in [
            "null",
            "{}",
            "[]",
            "7",
            r#"{"prompt_tokens":null}"#,
            r#"{"prompt_tokens":-3}"#,
        ] {
            assert_eq!(of(Operation::Chat, json), None, "{json}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn the_buckets_sum_up_to_the_provider_s_counts(
            counts in prop::array::uniform8(prop_oneof![0..100_u64, Just(u64::MAX), Just(u64::MAX - 1)]),
        ) {
            let [input, output, cached, audio, cached_audio, image, reasoning, audio_out] = counts;
            let json = format!(
                r#"{{"prompt_tokens":{input},"completion_tokens":{output},
                    "prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":{audio},"image_tokens":{image},"cached_tokens_details":{{"audio_tokens":{cached_audio}}}}},
                    "completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":{audio_out}}}}}"#
            );
            let usage = of(Operation::Chat, &json).unwrap();
            prop_assert_eq!(usage.total_input(), input);
            prop_assert_eq!(usage.total_output(), output);
        }
    }
}
