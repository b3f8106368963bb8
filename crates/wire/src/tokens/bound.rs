//! What a request can come to before it is sent: its input counted, and the bound that it sets on
//! its output.

use serde_json::value::RawValue;

use super::Request;
use crate::json;

/// What a request can come to, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Tokens of its input.
    pub input: u64,
    /// Most tokens of each answer, where the request sets a bound.
    pub max_output: Option<u64>,
    /// How many answers it asks for, where it asks for more than one.
    pub answers: u64,
}

/// Counts the input of a request's body, and reads the bound on its output as the formats we know
/// spell it. Of texts, about `max_bytes` are tokenized (about 25 ns a byte): all of a short one, of
/// a longer one its beginning and samples of the rest, at places that nobody can foresee. A body
/// that is no JSON object has none of either.
#[must_use]
pub fn bound(body: &[u8], model: &str, max_bytes: usize) -> Bound {
    let mut request = Request::new(model, max_bytes / 2);
    let mut setting = Setting::default();
    json::each_member(body, |name, value| {
        request.top(&name, value);
        setting.top(&name, value);
    });
    Bound {
        input: request.tokens(),
        max_output: setting.max_output,
        answers: setting.answers.max(1),
    }
}

/// Loads the vocabulary that most models use, so that no request waits for it.
pub fn warm_up() {
    let _counted = super::count("", "a");
}

#[derive(Default)]
struct Setting {
    /// The largest of all bounds that stand there: a provider reads the names that it knows, and a
    /// foreign one must not make a request look smaller.
    max_output: Option<u64>,
    answers: u64,
}

impl Setting {
    fn top(&mut self, name: &str, value: &RawValue) {
        match name {
            "generationConfig"
            | "generation_config"
            | "inferenceConfig"
            | "textGenerationConfig"
            | "options" => {
                json::each_member(value.get().as_bytes(), |name, value| {
                    self.member(&name, value);
                });
            }
            _ => self.member(name, value),
        }
    }

    fn member(&mut self, name: &str, value: &RawValue) {
        match name {
            // OpenAI, newer and older; Responses; Gemini; Bedrock's Converse, Titan and Llama;
            // Anthropic's older completions; Ollama.
            "max_completion_tokens"
            | "max_tokens"
            | "max_output_tokens"
            | "maxOutputTokens"
            | "maxTokens"
            | "maxTokenCount"
            | "max_gen_len"
            | "max_tokens_to_sample"
            | "num_predict" => {
                self.max_output = self.max_output.max(number(value));
            }
            "n" | "best_of" | "candidateCount" | "num_generations" => {
                self.answers = self.answers.max(number(value).unwrap_or(1));
            }
            _ => {}
        }
    }
}

fn number(value: &RawValue) -> Option<u64> {
    value.get().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, max_output: Option<u64>, answers: u64) {
        let bound = bound(body.as_bytes(), "gpt-4o", 1_000);
        assert_eq!(
            (bound.max_output, bound.answers),
            (max_output, answers),
            "{body}"
        );
    }

    #[test]
    fn the_bound_on_the_output_is_read_in_every_format() {
        check(r#"{"max_tokens":7}"#, Some(7), 1);
        check(
            r#"{"max_tokens":7,"max_completion_tokens":9,"n":3}"#,
            Some(9),
            3,
        );
        check(r#"{"max_completion_tokens":1,"max_tokens":7}"#, Some(7), 1);
        check(r#"{"max_tokens":7,"num_predict":1}"#, Some(7), 1);
        check(r#"{"max_output_tokens":7}"#, Some(7), 1);
        check(
            r#"{"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#,
            Some(7),
            2,
        );
        check(r#"{"inferenceConfig":{"maxTokens":7}}"#, Some(7), 1);
        check(r#"{"messages":[]}"#, None, 1);
        check(r#"{"max_tokens":-7,"n":"x"}"#, None, 1);
        check("[1]", None, 1);
        check("nope", None, 1);
    }

    #[test]
    fn the_input_is_counted_and_of_a_long_one_samples() {
        let of = |words: usize, max_bytes| {
            let text = "lion ".repeat(words);
            let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
            bound(body.as_bytes(), "gpt-4o", max_bytes).input
        };
        let (whole, part) = (of(20_000, 1 << 20), of(20_000, 16_000));
        assert!(whole >= 20_000, "{whole}");
        assert!(part.abs_diff(whole) <= whole / 10, "{part} for {whole}");
    }
}
