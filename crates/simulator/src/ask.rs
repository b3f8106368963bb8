//! What every provider's request comes down to, and the answer a model would give to it.

use serde_json::Value;

use crate::schema;
use crate::text::{self, Rng};

/// One request for generated content, stripped of its provider's words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask<'a> {
    /// Decides every choice; the hash of the request.
    pub(crate) seed: u64,
    /// The user's last words.
    pub(crate) asked: String,
    pub(crate) prompt_tokens: u64,
    /// The most tokens the caller allows.
    pub(crate) limit: Option<u64>,
    /// The exact length of a text answer, by the simulator's own header.
    pub(crate) length: Option<u64>,
    pub(crate) stops: Vec<String>,
    pub(crate) form: Form<'a>,
    /// Whether the model thinks before it answers, at the caller's cost.
    pub(crate) reasons: bool,
}

/// The shape of the answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Form<'a> {
    #[default]
    Text,
    /// A JSON document, by a schema if one was given.
    Json(Option<&'a Value>),
    Call(&'a Tool),
}

/// A function the model may call.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: String,
    pub(crate) schema: Value,
}

impl Tool {
    /// The tool that `declared` names; it takes no arguments unless a schema says which.
    pub(crate) fn declared(declared: &Value, schema: Option<&Value>) -> Option<Self> {
        let name = declared.get("name")?.as_str()?.to_owned();
        let empty = || serde_json::json!({"type": "object", "properties": {}});
        let schema = schema.filter(|schema| !schema.is_null());
        Some(Self {
            name,
            schema: schema.cloned().unwrap_or_else(empty),
        })
    }
}

/// What the caller says about the use of tools.
#[derive(Clone, Debug, Default)]
pub(crate) enum ToolChoice {
    /// The model decides: ours does when the word "tool" is in the user's last words.
    #[default]
    Auto,
    Never,
    Any,
    Named(String),
}

/// Which tool is called, if any. An unknown name calls none.
pub(crate) fn choose<'a>(tools: &'a [Tool], choice: &ToolChoice, asked: &str) -> Option<&'a Tool> {
    match choice {
        ToolChoice::Never => None,
        ToolChoice::Any => tools.first(),
        ToolChoice::Named(name) => tools.iter().find(|tool| tool.name == *name),
        ToolChoice::Auto => {
            let asks = asked.split(|c: char| !c.is_alphanumeric()).any(|word| {
                word.eq_ignore_ascii_case("tool") || word.eq_ignore_ascii_case("tools")
            });
            tools.first().filter(|_| asks)
        }
    }
}

/// Why the answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    /// One of the caller's stop sequences came up.
    Sequence,
    Length,
    Call,
}

/// One answer. With [`Finish::Call`] (or a call cut short) `text` holds the arguments.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) tool: Option<String>,
    pub(crate) tokens: u64,
    pub(crate) reasoning_tokens: u64,
    pub(crate) finish: Finish,
    /// The stop sequence that ended it.
    pub(crate) stopped_by: Option<String>,
}

impl Reply {
    /// Visible and hidden tokens.
    pub(crate) const fn billed(&self) -> u64 {
        self.tokens + self.reasoning_tokens
    }
}

impl Ask<'_> {
    /// The answer with number `index`; each differs.
    pub(crate) fn reply(&self, index: u64) -> Reply {
        let mut rng = Rng::new(
            self.seed
                .wrapping_add(index.wrapping_mul(0xa076_1d64_78bd_642f)),
        );
        let reasoning_tokens = self.reasoning(&mut rng);
        let limit = self
            .limit
            .map(|limit| limit.saturating_sub(reasoning_tokens));
        let mut text = self.content(&mut rng, limit);
        let mut stopped_by = self.stop(&mut text);
        let mut finish = match (self.form, &stopped_by) {
            (_, Some(_)) => Finish::Sequence,
            (Form::Call(_), None) => Finish::Call,
            (Form::Text | Form::Json(_), None) => Finish::Stop,
        };
        let mut tokens = text::count(&text);
        if let Some(limit) = limit
            && tokens > limit
        {
            text::truncate(&mut text, limit);
            (tokens, finish, stopped_by) = (limit, Finish::Length, None);
        }
        let tool = match self.form {
            Form::Call(tool) => Some(tool.name.clone()),
            Form::Text | Form::Json(_) => None,
        };
        Reply {
            text,
            tool,
            tokens,
            reasoning_tokens,
            finish,
            stopped_by,
        }
    }

    fn reasoning(&self, rng: &mut Rng) -> u64 {
        if !self.reasons {
            return 0;
        }
        let wanted = 64 * (1 + rng.below(4));
        self.limit.map_or(wanted, |limit| wanted.min(limit / 2))
    }

    /// The content; longer than `limit` when the model had more to say.
    fn content(&self, rng: &mut Rng, limit: Option<u64>) -> String {
        match self.form {
            Form::Json(Some(schema)) => schema::sample(schema, rng).to_string(),
            Form::Json(None) => schema::free_form(rng).to_string(),
            Form::Call(tool) => schema::sample(&tool.schema, rng).to_string(),
            Form::Text => {
                let natural = 24 + rng.below(72);
                let wanted = self.length.unwrap_or(natural);
                // Nothing past the limit is worth writing, however much was asked for.
                let written = limit.map_or(wanted, |limit| wanted.min(limit.saturating_add(1)));
                let mut text = text::answer(rng, &self.asked, written);
                if self.length.is_some() {
                    text::truncate(&mut text, written);
                }
                text
            }
        }
    }

    /// Ends `text` before the first stop sequence in it.
    fn stop(&self, text: &mut String) -> Option<String> {
        let found = |stop: &&String| text.find(stop.as_str()).map(|at| (at, stop.len()));
        let first = self
            .stops
            .iter()
            .filter(|stop| !stop.is_empty())
            .min_by_key(|stop| {
                found(stop).map_or((usize::MAX, 0), |(at, length)| (at, usize::MAX - length))
            })?;
        let (at, _) = found(&first)?;
        text.truncate(at);
        Some(first.clone())
    }

    /// Prompt tokens that came from the provider's cache: some of the prompts past 1 024 tokens,
    /// in steps of 128.
    pub(crate) const fn cached_tokens(&self) -> u64 {
        if self.prompt_tokens > 1_024 && self.seed & 1 == 0 {
            1_024 + (self.prompt_tokens - 1_024) / 256 * 128
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
    use serde_json::json;

    use super::*;

    fn tool(name: &str) -> Tool {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        Tool {
            name: name.to_owned(),
            schema,
        }
    }

    #[test]
    fn a_tool_is_called_when_forced_or_asked_for() {
        #[track_caller]
        fn check(choice: &ToolChoice, asked: &str, expected: Option<&str>) {
            let tools = [tool("first"), tool("second")];
            let chosen = choose(&tools, choice, asked).map(|tool| tool.name.as_str());
            assert_eq!(chosen, expected);
        }
        check(&ToolChoice::Auto, "use a Tool, please", Some("first"));
        check(&ToolChoice::Auto, "a toolbox", None);
        check(&ToolChoice::Never, "use a tool", None);
        check(&ToolChoice::Any, "hello", Some("first"));
        check(&ToolChoice::Named("second".into()), "hello", Some("second"));
        check(&ToolChoice::Named("third".into()), "hello", None);
    }

    #[test]
    fn a_call_carries_arguments_by_its_schema() {
        let tool = tool("weather");
        let reply = Ask {
            form: Form::Call(&tool),
            ..Ask::default()
        }
        .reply(0);
        let arguments: Value = serde_json::from_str(&reply.text).unwrap();
        assert!(arguments["city"].is_string());
        assert_eq!(
            (reply.finish, reply.tool.as_deref()),
            (Finish::Call, Some("weather"))
        );
    }

    #[test]
    fn the_first_stop_sequence_ends_the_answer_and_is_not_in_it() {
        let stops = vec!["asked".to_owned(), "You asked".to_owned(), String::new()];
        let ask = Ask {
            asked: "hi".into(),
            stops,
            ..Ask::default()
        };
        let reply = ask.reply(0);
        assert_eq!((reply.text.as_str(), reply.tokens), ("", 0));
        assert_eq!(
            (reply.finish, reply.stopped_by.as_deref()),
            (Finish::Sequence, Some("You asked"))
        );
    }

    #[test]
    fn cached_tokens_are_part_of_a_long_prompt() {
        let ask = |seed, prompt_tokens| Ask {
            seed,
            prompt_tokens,
            ..Ask::default()
        };
        assert_eq!(ask(2, 1_024).cached_tokens(), 0);
        assert_eq!(ask(2, 1_800).cached_tokens(), 1_024 + 384);
        assert_eq!(ask(3, 1_800).cached_tokens(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_answer_is_longer_than_its_limit(
            seed: u64, limit in 1u64..150, length in proptest::option::of(1u64..200), reasons: bool,
        ) {
            let asked = "Where is the ledger?".to_owned();
            let ask = Ask { seed, asked, limit: Some(limit), length, reasons, ..Ask::default() };
            let reply = ask.reply(0);
            prop_assert!(reply.billed() <= limit);
            prop_assert_eq!(reply.tokens, text::count(&reply.text));
            if reply.finish == Finish::Length {
                prop_assert_eq!(reply.billed(), limit);
            } else if let Some(length) = length {
                prop_assert_eq!(reply.tokens, length);
            }
        }
    }
}
