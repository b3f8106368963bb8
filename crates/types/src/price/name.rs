//! The spellings of a model's name, from the most to the least exact.

/// Longest name that is looked up, in bytes; no provider has names as long.
const MAX_BYTES: usize = 256;

/// How many leading path segments may go (`projects/…/models/gemini-2.5-pro`).
const MAX_SEGMENTS: usize = 10;

/// Geographies of Bedrock's inference profiles, which share the price of the plain model id.
/// `global` is not one: it has prices of its own. (genai-prices 0.2.3; read 2026-11-22)
const GEOGRAPHIES: [&str; 7] = ["us", "us-gov", "eu", "apac", "jp", "au", "in"];

/// Whether `name` is of a model that its customer trained, which never has the base model's price.
///
/// OpenAI names them `ft:gpt-4o-mini-2024-07-18:org::id`, Azure `gpt-4o-mini-2024-07-18.ft-id`.
pub(super) fn is_fine_tuned(name: &str) -> bool {
    let bytes = name.as_bytes();
    let is_mark = |before: &[u8]| before.ends_with(b".ft") || before.ends_with(b":ft");
    let mut places = bytes.iter().enumerate();
    bytes.starts_with(b"ft:") || places.any(|(at, byte)| *byte == b'-' && is_mark(&bytes[..at]))
}

/// Shows the spellings of `name` to `look`, until it finds something: as it stands, without
/// Bedrock's version and geography, without its date, and each of these without leading path
/// segments.
pub(super) fn spellings<'n, T>(
    name: &'n str,
    mut look: impl FnMut(&'n str) -> Option<T>,
) -> Option<T> {
    if name.len() > MAX_BYTES {
        return None;
    }
    if is_fine_tuned(name) {
        return each_once(name, fine_tuned_base, &mut look);
    }
    let mut tail = name;
    for _ in 0..MAX_SEGMENTS {
        let found = each_once(tail, without_version, &mut look)
            .or_else(|| each_once(without_geography(tail)?, without_version, &mut look));
        if found.is_some() {
            return found;
        }
        tail = tail.split_once('/')?.1;
    }
    None
}

/// Shows `name`, what `shorten` leaves of it, and that without its date, each but once.
fn each_once<'n, T>(
    name: &'n str,
    shorten: impl Fn(&'n str) -> &'n str,
    mut look: impl FnMut(&'n str) -> Option<T>,
) -> Option<T> {
    if let Some(found) = look(name) {
        return Some(found);
    }
    let short = shorten(name);
    if short.len() < name.len()
        && let Some(found) = look(short)
    {
        return Some(found);
    }
    let undated = without_date(short);
    (undated.len() < short.len()).then(|| look(undated))?
}

/// `ft:gpt-4o-mini-2024-07-18` of `ft:gpt-4o-mini-2024-07-18:org::id`.
fn fine_tuned_base(name: &str) -> &str {
    match name.strip_prefix("ft:").and_then(|rest| rest.find(':')) {
        Some(end) => &name[..end + "ft:".len()],
        None => name,
    }
}

/// Without Bedrock's version: `-v1:0`, `:0`, `-v2`.
fn without_version(name: &str) -> &str {
    let without_number = |name: &'_ str, mark: &str| -> Option<usize> {
        let rest = name.trim_end_matches(|last: char| last.is_ascii_digit());
        let is_number = rest.len() < name.len();
        rest.strip_suffix(mark).filter(|_| is_number).map(str::len)
    };
    let name = without_number(name, ":").map_or(name, |end| &name[..end]);
    without_number(name, "-v").map_or(name, |end| &name[..end])
}

fn without_geography(name: &str) -> Option<&str> {
    let geography = GEOGRAPHIES.iter().find(|geography| {
        name.as_bytes().get(geography.len()) == Some(&b'.') && name.starts_with(**geography)
    })?;
    name.get(geography.len() + 1..)
}

/// Without the day of a snapshot (`-2024-08-06`, `-20250929`, `@20250514`) or the number of a
/// stable version of Gemini (`-001`).
fn without_date(name: &str) -> &str {
    ["-dddd-dd-dd", "-dddddddd", "@dddddddd", "-00d"]
        .into_iter()
        .find_map(|shape| without_suffix(name, shape))
        .unwrap_or(name)
}

/// `name` without a suffix of `shape`, in which `d` stands for a digit.
fn without_suffix<'n>(name: &'n str, shape: &str) -> Option<&'n str> {
    let at = name.len().checked_sub(shape.len())?;
    let fits = name.as_bytes()[at..]
        .iter()
        .zip(shape.as_bytes())
        .all(|(byte, wanted)| {
            if *wanted == b'd' {
                byte.is_ascii_digit()
            } else {
                byte == wanted
            }
        });
    (fits && at > 0).then(|| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &[&str]) {
        let mut seen = Vec::new();
        assert_eq!(
            spellings(name, |spelling| {
                seen.push(spelling);
                None::<()>
            }),
            None
        );
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_name_is_tried_as_it_stands_and_without_its_date() {
        check("gpt-4o", &["gpt-4o"]);
        check("gpt-4o-2024-08-06", &["gpt-4o-2024-08-06", "gpt-4o"]);
        check(
            "claude-sonnet-4-5-20250929",
            &["claude-sonnet-4-5-20250929", "claude-sonnet-4-5"],
        );
        check(
            "claude-opus-4@20250514",
            &["claude-opus-4@20250514", "claude-opus-4"],
        );
        check(
            "gemini-2.0-flash-001",
            &["gemini-2.0-flash-001", "gemini-2.0-flash"],
        );
        check("gpt-4-0613", &["gpt-4-0613"]);
        check("-20250101", &["-20250101"]);
    }

    #[test]
    fn path_segments_go_from_the_left() {
        check("openai/gpt-4o", &["openai/gpt-4o", "gpt-4o"]);
        check(
            "models/gemini-2.5-pro",
            &["models/gemini-2.5-pro", "gemini-2.5-pro"],
        );
        check("a//b", &["a//b", "/b", "b"]);
    }

    #[test]
    fn bedrock_ids_lose_version_and_geography() {
        check(
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            &[
                "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
                "eu.anthropic.claude-sonnet-4-5-20250929",
                "eu.anthropic.claude-sonnet-4-5",
                "anthropic.claude-sonnet-4-5-20250929-v1:0",
                "anthropic.claude-sonnet-4-5-20250929",
                "anthropic.claude-sonnet-4-5",
            ],
        );
        check("global.amazon.nova-2-lite", &["global.amazon.nova-2-lite"]);
    }

    #[test]
    fn a_fine_tuned_model_never_becomes_its_base_model() {
        check(
            "ft:gpt-4o-mini-2024-07-18:org::id",
            &[
                "ft:gpt-4o-mini-2024-07-18:org::id",
                "ft:gpt-4o-mini-2024-07-18",
                "ft:gpt-4o-mini",
            ],
        );
        check(
            "gpt-4o-mini-2024-07-18.ft-0a1b",
            &["gpt-4o-mini-2024-07-18.ft-0a1b"],
        );
    }

    #[test]
    fn names_are_bounded() {
        check(&"x".repeat(257), &[]);
        let mut looks = 0;
        spellings(&"a/".repeat(128), |_| {
            looks += 1;
            None::<()>
        });
        assert!(looks <= 3 * MAX_SEGMENTS);
    }

    #[test]
    fn names_that_are_not_ascii_do_not_break_it() {
        check("modèle-20250101", &["modèle-20250101", "modèle"]);
        check("é", &["é"]);
    }
}
