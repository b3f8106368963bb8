//! The part of the query language that analytics clients send (GraphQL, October 2021, section 2):
//! one query with variables, fields with aliases and arguments. Fragments, directives, mutations and
//! subscriptions are refused by name. Depth and size are bounded.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

/// Fields within fields at most.
const MAX_DEPTH: usize = 8;
/// Fields of a query at most.
const MAX_FIELDS: usize = 256;
/// Values within values at most.
const MAX_NESTING: usize = 8;

/// A field that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    /// What it is called in the answer.
    pub(super) alias: String,
    pub(super) arguments: Map<String, Value>,
    pub(super) fields: Vec<Field>,
}

/// What cannot be understood, and where.
pub(super) type Wrong = String;

/// The fields of the one query of a text.
///
/// # Errors
/// It is none, or has what is not understood here.
pub(super) fn query(text: &str, given: &Map<String, Value>) -> Result<Vec<Field>, Wrong> {
    let mut parser = Parser {
        rest: text,
        whole: text.len(),
        variables: BTreeMap::new(),
        fields: 0,
    };
    parser.skip();
    if parser.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
        let kind = parser.name()?;
        if kind != "query" {
            return Err(format!("`{kind}` is not understood here: one `query` is"));
        }
        if !parser.rest.starts_with(['{', '(']) {
            parser.name()?;
        }
        if parser.take('(') {
            parser.variables(given)?;
        }
    }
    let fields = parser.fields(1)?;
    match parser.rest {
        "" => Ok(fields),
        _ => Err(parser.unexpected("the end: one query is answered at a time")),
    }
}

struct Parser<'t> {
    rest: &'t str,
    whole: usize,
    variables: BTreeMap<String, Value>,
    fields: usize,
}

impl Parser<'_> {
    /// Passes over spaces, commas and comments.
    fn skip(&mut self) {
        loop {
            let blank = |c: char| c.is_whitespace() || c == ',' || c == '\u{feff}';
            self.rest = self.rest.trim_start_matches(blank);
            if !self.rest.starts_with('#') {
                return;
            }
            let end = self.rest.find(['\n', '\r']).unwrap_or(self.rest.len());
            self.rest = &self.rest[end..];
        }
    }

    fn unexpected(&self, wanted: &str) -> Wrong {
        let at = self.whole - self.rest.len();
        let found = self.rest.chars().next();
        let found = found.map_or("the end".into(), |c| format!("`{c}`"));
        format!("at byte {at}: found {found} instead of {wanted}")
    }

    fn take(&mut self, mark: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(mark) else {
            return false;
        };
        self.rest = rest;
        self.skip();
        true
    }

    fn need(&mut self, mark: char) -> Result<(), Wrong> {
        match self.take(mark) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{mark}`"))),
        }
    }

    fn name(&mut self) -> Result<String, Wrong> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.unexpected("a name"));
        }
        self.rest = rest;
        self.skip();
        Ok(name.to_owned())
    }

    /// `$name: Type! = default`, up to the closing parenthesis.
    fn variables(&mut self, given: &Map<String, Value>) -> Result<(), Wrong> {
        while !self.take(')') {
            self.need('$')?;
            let name = self.name()?;
            self.need(':')?;
            let is_needed = self.kind()?;
            let unset = if self.take('=') {
                Some(self.value(1)?)
            } else {
                None
            };
            let value = match given.get(&name).cloned().or(unset) {
                None | Some(Value::Null) if is_needed => {
                    return Err(format!("the variable `${name}` is needed"));
                }
                value => value.unwrap_or_default(),
            };
            self.variables.insert(name, value);
        }
        Ok(())
    }

    /// A type, which is not looked at but for its last mark: whether there must be a value.
    fn kind(&mut self) -> Result<bool, Wrong> {
        let mut lists = 0;
        while self.take('[') {
            lists += 1;
        }
        self.name()?;
        let mut is_needed = self.take('!');
        for _ in 0..lists {
            self.need(']')?;
            is_needed = self.take('!');
        }
        Ok(is_needed)
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, Wrong> {
        if depth > MAX_DEPTH {
            return Err(format!("fields lie at most {MAX_DEPTH} deep"));
        }
        self.need('{')?;
        let mut fields = Vec::new();
        while !self.take('}') {
            if self.rest.starts_with("...") {
                return Err("fragments are not understood here".into());
            }
            self.fields += 1;
            if self.fields > MAX_FIELDS {
                return Err(format!("a query has at most {MAX_FIELDS} fields"));
            }
            fields.push(self.field(depth)?);
        }
        match fields.is_empty() {
            true => Err("a field that has fields is asked for some of them".into()),
            false => Ok(fields),
        }
    }

    fn field(&mut self, depth: usize) -> Result<Field, Wrong> {
        let alias = self.name()?;
        let name = match self.take(':') {
            true => self.name()?,
            false => alias.clone(),
        };
        let mut arguments = Map::new();
        if self.take('(') {
            while !self.take(')') {
                let name = self.name()?;
                self.need(':')?;
                arguments.insert(name, self.value(1)?);
            }
        }
        if self.rest.starts_with('@') {
            return Err("directives are not understood here".into());
        }
        let fields = match self.rest.starts_with('{') {
            true => self.fields(depth + 1)?,
            false => Vec::new(),
        };
        Ok(Field {
            name,
            alias,
            arguments,
            fields,
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value, Wrong> {
        if depth > MAX_NESTING {
            return Err(format!("values lie at most {MAX_NESTING} deep"));
        }
        if self.take('$') {
            let name = self.name()?;
            let value = self.variables.get(&name).cloned();
            return value.ok_or_else(|| format!("there is no variable `${name}`"));
        }
        if self.take('[') {
            let mut values = Vec::new();
            while !self.take(']') {
                values.push(self.value(depth + 1)?);
            }
            return Ok(values.into());
        }
        if self.take('{') {
            let mut members = Map::new();
            while !self.take('}') {
                let name = self.name()?;
                self.need(':')?;
                members.insert(name, self.value(depth + 1)?);
            }
            return Ok(members.into());
        }
        match self.rest.chars().next() {
            Some('"') => self.text(),
            Some('-' | '0'..='9') => self.number(),
            _ => Ok(match self.name()?.as_str() {
                "null" => Value::Null,
                "true" => true.into(),
                "false" => false.into(),
                name => name.into(),
            }),
        }
    }

    /// A text in quotes, whose escapes are those of JSON.
    fn text(&mut self) -> Result<Value, Wrong> {
        if self.rest.starts_with("\"\"\"") {
            return Err("block strings are not understood here".into());
        }
        let mut texts = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let Some(Ok(text)) = texts.next() else {
            return Err(self.unexpected("a text that ends on its line"));
        };
        self.rest = &self.rest[texts.byte_offset()..];
        self.skip();
        Ok(text.into())
    }

    fn number(&mut self) -> Result<Value, Wrong> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        let number: Option<Number> = serde_json::from_str(text).ok();
        let number = number.ok_or_else(|| self.unexpected("a number"))?;
        self.rest = rest;
        self.skip();
        Ok(number.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<Field>, Wrong> {
        let given = json!({"a": "ACC", "n": 3});
        query(text, given.as_object().unwrap())
    }

    #[test]
    fn a_query_is_read_with_aliases_arguments_and_variables() {
        let text = r#"
            query Spend($a: String!, $n: Int = 5, $m: [Int!]! = [1, -2.5]) { # how much
              viewer { accounts(filter: {accountTag: $a}) {
                g: groups(limit: $n, list: $m, orderBy: [x_ASC], say: "a \"b\" é", no: null, yes: true) { count, sum { cost } }
              } }
            }"#;
        let fields = parsed(text).unwrap();
        let accounts = &fields[0].fields[0];
        assert_eq!(accounts.arguments["filter"], json!({"accountTag": "ACC"}));
        let group = &accounts.fields[0];
        assert_eq!((&*group.alias, &*group.name), ("g", "groups"));
        let expected = json!({"limit": 3, "list": [1, -2.5], "orderBy": ["x_ASC"],
            "say": "a \"b\" é", "no": null, "yes": true});
        assert_eq!(Value::Object(group.arguments.clone()), expected);
        let names: Vec<_> = group.fields.iter().map(|field| &*field.name).collect();
        assert_eq!(names, ["count", "sum"]);
        assert_eq!(parsed("{ a }").unwrap(), parsed("query{a}").unwrap());
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, words) in [
            ("", "the end instead of `{`"),
            ("{}", "some of them"),
            ("{ a", "a name"),
            ("{ a } { b }", "one query"),
            ("mutation { a }", "`mutation`"),
            ("{ ...F }", "fragments"),
            ("{ a @skip(if: true) }", "directives"),
            ("{ a(b: $x) }", "`$x`"),
            ("query($z: Int!) { a }", "`$z` is needed"),
            ("{ a(b: \"x) }", "ends on its line"),
            ("{ a(b: 1x) }", "a number"),
            ("{ a(b: [[[[[[[[[1]]]]]]]]]) }", "8 deep"),
            ("{a{a{a{a{a{a{a{a{a}}}}}}}}}", "8 deep"),
            (&format!("{{ {} }}", "a ".repeat(257)), "256 fields"),
        ] {
            let told = parsed(text).unwrap_err();
            assert!(told.contains(words), "{text}: {told}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[{}()\\[\\]:$a\"\\\\0-9. #\n!=@é-]{0,64}") {
            parsed(&text).ok();
        }
    }
}
