//! Walks JSON as it is written, and rewrites some of its values: everything else, white space and
//! the order of members among it, stays byte for byte.

use std::borrow::Cow;

/// Deepest nesting that is looked into; what lies deeper is rewritten as a whole text.
const MAX_DEPTH: usize = 128;

/// Where a value is: names of members, and numbers of elements, from the outside.
pub(crate) type Place<'p> = [Cow<'p, str>];

/// What becomes of a value.
pub(crate) enum Fate {
    /// It stays.
    Keep,
    /// This JSON takes its place.
    Replace(String),
}

/// Decides on values: on each as it is met, and on texts and numbers by what they say.
pub(crate) trait Visit {
    /// Whether it looks at objects and lists, too.
    fn sees_all(&self) -> bool;
    /// Whether the value at a place is replaced whole; `json`: as it is written.
    fn whole(&mut self, place: &Place<'_>, json: &str) -> Fate;
    /// What becomes of a text, or of a number as it is written.
    fn text(&mut self, text: &str) -> Option<String>;
}

struct Walk<'j, 'v> {
    json: &'j str,
    at: usize,
    out: String,
    place: Vec<Cow<'j, str>>,
    visit: &'v mut dyn Visit,
    changed: bool,
}

/// The JSON with what the visitor replaced; `None`: nothing was, or it is no JSON.
pub(crate) fn rewrite(json: &str, visit: &mut dyn Visit) -> Option<String> {
    let mut walk = Walk {
        json,
        at: 0,
        out: String::with_capacity(json.len()),
        place: Vec::new(),
        visit,
        changed: false,
    };
    walk.space();
    walk.value()?;
    walk.space();
    (walk.changed && walk.at == json.len()).then_some(walk.out)
}

impl<'j> Walk<'j, '_> {
    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn copy(&mut self, to: usize) {
        self.out.push_str(&self.json[self.at..to]);
        self.at = to;
    }

    fn space(&mut self) {
        let rest = self.json[self.at..].bytes();
        let blanks = rest.take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        let count = blanks.count();
        self.copy(self.at + count);
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.copy(self.at + 1))
    }

    /// Behind the value that begins here.
    fn end_of_value(&self) -> Option<usize> {
        let rest = &self.json[self.at..];
        let mut values =
            serde_json::Deserializer::from_str(rest).into_iter::<&serde_json::value::RawValue>();
        let value = values.next()?.ok()?;
        Some(self.at + value.get().len())
    }

    fn value(&mut self) -> Option<()> {
        let is_scalar = !matches!(self.peek()?, b'{' | b'[');
        if is_scalar || self.place.len() >= MAX_DEPTH {
            return self.scalar();
        }
        if self.visit.sees_all() {
            let end = self.end_of_value()?;
            let json = &self.json[self.at..end];
            if let Fate::Replace(with) = self.visit.whole(&self.place, json) {
                self.replace(end, &with);
                return Some(());
            }
        }
        match self.peek()? {
            b'{' => self.object(),
            _ => self.array(),
        }
    }

    fn replace(&mut self, end: usize, with: &str) {
        self.out.push_str(with);
        self.at = end;
        self.changed = true;
    }

    fn scalar(&mut self) -> Option<()> {
        let end = self.end_of_value()?;
        let json = &self.json[self.at..end];
        if let Fate::Replace(with) = self.visit.whole(&self.place, json) {
            self.replace(end, &with);
            return Some(());
        }
        let text: Cow<'_, str> = match json.as_bytes().first()? {
            b'"' => text_of(json)?,
            b'-' | b'0'..=b'9' | b'{' | b'[' => Cow::Borrowed(json),
            _ => {
                self.copy(end);
                return Some(());
            }
        };
        match self.visit.text(&text) {
            Some(with) => {
                let with = serde_json::to_string(&with).ok()?;
                self.replace(end, &with);
            }
            None => self.copy(end),
        }
        Some(())
    }

    fn object(&mut self) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            return self.expect(b'}');
        }
        loop {
            let end = self.end_of_value()?;
            let name = text_of(&self.json[self.at..end])?;
            self.copy(end);
            self.space();
            self.expect(b':')?;
            self.space();
            self.place.push(name);
            self.value()?;
            self.place.pop();
            self.space();
            match self.peek()? {
                b',' => self.expect(b',')?,
                _ => return self.expect(b'}'),
            }
            self.space();
        }
    }

    fn array(&mut self) -> Option<()> {
        self.expect(b'[')?;
        self.space();
        if self.peek()? == b']' {
            return self.expect(b']');
        }
        for number in 0_usize.. {
            self.place.push(number.to_string().into());
            self.value()?;
            self.place.pop();
            self.space();
            match self.peek()? {
                b',' => self.expect(b',')?,
                _ => return self.expect(b']'),
            }
            self.space();
        }
        None
    }
}

/// The text that a JSON string writes.
fn text_of(json: &str) -> Option<Cow<'_, str>> {
    let inside = json.strip_prefix('"')?.strip_suffix('"')?;
    match inside.contains('\\') {
        false => Some(Cow::Borrowed(inside)),
        true => serde_json::from_str::<String>(json).ok().map(Cow::Owned),
    }
}
