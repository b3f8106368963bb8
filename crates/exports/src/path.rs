//! Where in a bucket or folder objects go: a path with places for the date.

use isango_types::Timestamp;

/// What may stand between braces.
const NAMES: [&str; 7] = ["DATE", "YEAR", "MONTH", "DAY", "HOUR", "ACCOUNT", "GATEWAY"];

/// A path with places that are filled when an object is named; no slash at its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Template {
    text: Box<str>,
}

/// Whose objects are named.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose<'w> {
    /// The account.
    pub(crate) account: &'w str,
    /// The gateway; `None`: all of the account's.
    pub(crate) gateway: Option<&'w str>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_matches('/');
        let fits = |c: char| c.is_ascii_alphanumeric() || "_-.~/={}!+".contains(c);
        if !text.chars().all(fits) {
            return Err("its path has letters, digits and `_-.~/=!+` only".into());
        }
        if text.split('/').any(|part| part == "." || part == "..") {
            return Err("no part of its path is `.` or `..`".into());
        }
        if text.contains("//") {
            return Err("its path has an empty part".into());
        }
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once('{') {
            let (name, behind) = behind
                .split_once('}')
                .ok_or("a `{` in its path is not closed")?;
            if !NAMES.contains(&name) {
                let known = NAMES.join("`, `");
                return Err(format!("nothing fills `{{{name}}}`; there are `{known}`"));
            }
            rest = behind;
        }
        Ok(Self { text: text.into() })
    }

    /// The parts of it before the first place: where everything of it is.
    pub(crate) fn root(&self) -> &str {
        match self.text.split_once('{') {
            Some((before, _)) => before.rsplit_once('/').map_or("", |(root, _)| root),
            None => &self.text,
        }
    }

    /// The path at a moment (UTC).
    pub(crate) fn fill(&self, whose: Whose<'_>, at: Timestamp) -> String {
        if !self.text.contains('{') {
            return self.text.to_string();
        }
        let text = at.to_string();
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        let [year, month, day, hour] = [part(0, 4), part(5, 7), part(8, 10), part(11, 13)];
        let date = format!("{year}{month}{day}");
        let values = [
            date.as_str(),
            year,
            month,
            day,
            hour,
            whose.account,
            whose.gateway.unwrap_or("all"),
        ];
        let places = NAMES.iter().zip(values);
        places.fold(self.text.to_string(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
    }
}

/// A moment as names of objects have it: `20260418T000210Z`.
pub(crate) fn stamp(at: Timestamp) -> String {
    isango_wire::sigv4::basic(at)
}

/// Two paths in one; either may be empty.
pub(crate) fn join(one: &str, other: &str) -> String {
    match one.is_empty() {
        true => other.to_owned(),
        false => format!("{one}/{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_filled_with_the_date() {
        let at = Timestamp::parse("2026-04-18T07:02:10Z").unwrap();
        let whose = Whose {
            account: "local",
            gateway: None,
        };
        for (template, filled, root) in [
            ("prompts/{DATE}", "prompts/20260418", "prompts"),
            (
                "a/b/dt={YEAR}-{MONTH}-{DAY}/{HOUR}/",
                "a/b/dt=2026-04-18/07",
                "a/b",
            ),
            ("/{ACCOUNT}/{GATEWAY}", "local/all", ""),
            ("logs", "logs", "logs"),
            ("", "", ""),
        ] {
            let parsed = Template::parse(template).unwrap();
            assert_eq!(
                (parsed.fill(whose, at).as_str(), parsed.root()),
                (filled, root)
            );
        }
        assert_eq!(stamp(at), "20260418T070210Z");
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for wrong in [
            "../a", "a/./b", "a//b", "a b", "{DATES}", "{DATE", "a\nb", "ä",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
