//! One candidate of a streamed answer, put together from its parts.

use std::borrow::Cow;

use crate::assemble::{Members, Object};

/// One candidate under construction.
#[derive(Default)]
pub(super) struct Candidate {
    /// Members but `content`; the last value of each counts (`groundingMetadata` comes whole).
    members: Object,
    /// Members of `content` but `parts`.
    content: Object,
    /// Parts in their order; texts of the same kind that follow each other are one.
    parts: Vec<Part>,
    /// Whether it told why it ended.
    pub(super) is_ended: bool,
}

/// One part: its members, and its text where that is what it is.
struct Part {
    members: Object,
    text: Option<String>,
    is_thought: bool,
    /// Has members but `text` and `thought` (a signature), and must stay what it is.
    is_sealed: bool,
}

impl Candidate {
    /// Adds what an event tells; returns whether there was content in it.
    pub(super) fn grow(&mut self, told: &Members<'_>, delivered: &mut String) -> bool {
        for (name, raw) in told.iter() {
            if name != "content" {
                self.members.put(name, raw);
            }
        }
        self.is_ended |= told.has("finishReason");
        let Some(content) = told.object("content") else {
            return false;
        };
        for (name, raw) in content.iter() {
            if name != "parts" {
                self.content.put(name, raw);
            }
        }
        let mut has_content = false;
        for part in content.objects("parts") {
            has_content |= self.add(&part, delivered);
        }
        has_content
    }

    fn add(&mut self, part: &Members<'_>, delivered: &mut String) -> bool {
        let text = part.text("text");
        deliver(part, delivered);
        let has_content = match &text {
            Some(text) => !text.is_empty(),
            None => part.iter().any(|(name, _)| !name.starts_with("thought")),
        };
        let is_thought = part.read("thought").unwrap_or(false);
        let is_sealed = part
            .iter()
            .any(|(name, _)| !matches!(name, "text" | "thought"));
        if let (Some(more), Some(last)) = (&text, self.parts.last_mut())
            && let Some(grown) = &mut last.text
            && last.is_thought == is_thought
            && !last.is_sealed
            && !is_sealed
        {
            grown.push_str(more);
            return has_content;
        }
        let mut members = Object::default();
        members.merge(part);
        let text = text.map(Cow::into_owned);
        self.parts.push(Part {
            members,
            text,
            is_thought,
            is_sealed,
        });
        has_content
    }

    /// The whole candidate, of what has come.
    pub(super) fn assemble(self) -> Object {
        let mut whole = Object::default();
        let mut content = Object::default();
        if !self.parts.is_empty() {
            let parts: Vec<Object> = self.parts.into_iter().map(Part::assemble).collect();
            content.set("parts", &parts);
        }
        content.merge(&self.content.members());
        if !content.is_empty() {
            whole.set("content", &content);
        }
        whole.merge(&self.members.members());
        whole
    }
}

impl Part {
    fn assemble(self) -> Object {
        let mut whole = self.members;
        if let Some(text) = self.text {
            whole.set("text", &text);
        }
        whole
    }
}

/// Adds what the client was sent of a part: text, thoughts, a call's name and arguments, code.
pub(super) fn deliver(part: &Members<'_>, delivered: &mut String) {
    if let Some(text) = part.text("text") {
        delivered.push_str(&text);
    }
    if let Some(call) = part.object("functionCall") {
        delivered.push_str(&call.text("name").unwrap_or_default());
        // Without the indentation of the answer around them, which no model wrote.
        if let Some(args) = call.read::<serde_json::Value>("args") {
            delivered.push_str(&args.to_string());
        }
    }
    if let Some(code) = part.object("executableCode") {
        delivered.push_str(&code.text("code").unwrap_or_default());
    }
}
