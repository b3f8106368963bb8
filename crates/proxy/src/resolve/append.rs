//! Providers whose paths are appended to their base URL.

use super::Mapped;

/// Appends `path` as it came; nothing of it selects anything.
pub(super) fn map(path: &str) -> Mapped<'_> {
    Mapped {
        path: plain(path),
        ..Mapped::default()
    }
}

/// The pieces of a path that is passed on whole. An empty one adds no slash.
pub(super) fn plain(path: &str) -> [&str; 4] {
    if path.is_empty() {
        [""; 4]
    } else {
        ["/", path, "", ""]
    }
}

/// Joins without doubling a version: returns what is left of the base URL's path and of `rest`.
///
/// Whatever segments the base ends with and `rest` begins with are taken once, if the last of them
/// is a version (`/openai/v1` and `v1/…`, or `openai/v1/…`); another version takes the place of the
/// base's own (`/v1` and `v2/…`); and of two equal versions that `rest` begins with, one goes.
/// Nothing changes for a provider without version prefixes.
pub(super) fn undouble<'a>(
    base: &'a str,
    rest: &'a str,
    versions: &[Box<str>],
) -> (&'a str, &'a str) {
    if versions.is_empty() {
        return (base, rest);
    }
    let once = versions.iter().find_map(|version| {
        let after = rest.strip_prefix(&**version)?.strip_prefix('/')?;
        begins_with(after, version).then_some(after)
    });
    let rest = once.unwrap_or(rest);
    let Some((root, last)) = base.rsplit_once('/') else {
        return (base, rest);
    };
    if !versions.iter().any(|version| **version == *last) {
        return (base, rest);
    }
    let shared = base
        .match_indices('/')
        .find(|(at, _)| begins_with(rest, &base[at + 1..]));
    match shared {
        Some((at, _)) => (&base[..at], rest),
        None if versions.iter().any(|version| begins_with(rest, version)) => (root, rest),
        None => (base, rest),
    }
}

/// Whether `path` begins with the whole segments of `prefix`.
fn begins_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|after| after.is_empty() || after.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, rest: &str, joined: &str) {
        let versions = ["v1", "v2"].map(Into::into);
        let (base_left, rest_left) = undouble(base, rest, &versions);
        assert_eq!(
            format!("{base_left}/{rest_left}"),
            joined,
            "{base} + {rest}"
        );
    }

    #[test]
    fn a_version_is_never_doubled() {
        check("/v1", "chat", "/v1/chat");
        check("/v1", "v1/chat", "/v1/chat");
        check("/v1", "v1", "/v1");
        check("/v1", "v1/v1/chat", "/v1/chat");
        check("/v1", "v2/chat", "/v2/chat");
        check("/v1", "v1beta/chat", "/v1/v1beta/chat");
        check("/openai/v1", "chat", "/openai/v1/chat");
        check("/openai/v1", "v1/chat", "/openai/v1/chat");
        check("/openai/v1", "openai/v1/chat", "/openai/v1/chat");
        check("/openai/v1", "openai/chat", "/openai/v1/openai/chat");
        check("", "v1/chat", "/v1/chat");
        check("", "v1/v1/chat", "/v1/chat");
        check("/proxy", "v1/chat", "/proxy/v1/chat");
        check("/proxy", "proxy/chat", "/proxy/proxy/chat");
    }

    #[test]
    fn without_versions_everything_is_verbatim() {
        assert_eq!(undouble("/v1", "v1/chat", &[]), ("/v1", "v1/chat"));
    }
}
