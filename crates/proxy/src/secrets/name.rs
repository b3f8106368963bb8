//! Which headers and query keys carry credentials, told by their names: providers, proxies and
//! sign-in services invent more of them than a list could hold.

/// What the name of a credential holds, each with the place in it of two letters that ordinary
/// names of headers rarely have side by side.
const WORDS: [(&[u8], usize); 11] = [
    (b"key", 0),
    (b"token", 2),
    (b"secret", 2),
    (b"password", 3),
    (b"credential", 0),
    (b"auth", 0),
    (b"cookie", 2),
    (b"session", 2),
    (b"jwt", 0),
    (b"signature", 2),
    (b"bearer", 1),
];
/// Names that are too short to be looked for in longer ones.
const WHOLE: [&[u8]; 3] = [b"sig", b"code", b"pwd"];
/// Ends of names that hold such a word and carry no credential. Conversations are found by the
/// ids that clients put into such headers and repeat in their bodies; whoever knows one of these
/// values gains nothing by it.
const HARMLESS: [&[u8]; 17] = [
    b"idempotency-key",
    b"cache-key",
    b"websocket-key",
    b"session-id",
    b"session-affinity",
    b"page-token",
    b"pagetoken",
    b"max-tokens",
    b"completion-tokens",
    b"output-tokens",
    b"input-tokens",
    b"prompt-tokens",
    b"keyword",
    b"keywords",
    b"author",
    b"authors",
    b"authority",
];

/// The rare pairs: bit `second & 31` of entry `first & 31`, so that case does not matter.
const PAIRS: [u32; 32] = {
    let mut pairs = [0; 32];
    let mut at = 0;
    while at < WORDS.len() {
        let (word, rare) = WORDS[at];
        pairs[letter(word[rare])] |= 1 << letter(word[rare + 1]);
        at += 1;
    }
    pairs
};

const fn letter(byte: u8) -> usize {
    (byte & 31) as usize
}

/// Whether the value under this name, of a header or a query, is a credential. Case does not
/// matter.
///
/// Asked of every header of every request: one look-up for each letter, and a comparison only
/// where a rare pair stands.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.as_bytes();
    let has_word = name.windows(2).enumerate().any(|(at, pair)| {
        PAIRS[letter(pair[0])] >> letter(pair[1]) & 1 == 1 && has_word_around(name, at)
    });
    match has_word {
        true => !HARMLESS.iter().any(|end| ends_with(name, end)),
        false => WHOLE.iter().any(|whole| name.eq_ignore_ascii_case(whole)),
    }
}

#[cold]
fn has_word_around(name: &[u8], at: usize) -> bool {
    WORDS.iter().any(|(word, rare)| {
        at.checked_sub(*rare)
            .and_then(|begin| name.get(begin..begin + word.len()))
            .is_some_and(|part| part.eq_ignore_ascii_case(word))
    })
}

/// Takes `_` for `-`, as names are written both ways.
fn ends_with(name: &[u8], end: &[u8]) -> bool {
    let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
    name.len() >= end.len() && name.iter().rev().zip(end.iter().rev()).all(same)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "authorization",
            "proxy-authorization",
            "cf-aig-authorization",
            "api-key",
            "x-api-key",
            "xi-api-key",
            "x-goog-api-key",
            "ocp-apim-subscription-key",
            "x-functions-key",
            "x-amz-security-token",
            "X-Amz-Credential",
            "X-Amz-Signature",
            "x-custom-auth",
            "cf-access-jwt-assertion",
            "cookie",
            "apiKey",
            "key",
            "private_key",
            "credential",
            "accessToken",
            "session_token",
            "sessionid",
            "client_secret",
            "PASSWORD",
            "jwt",
            "bearer",
            "sig",
            "Code",
            "pwd",
        ] {
            assert!(is_secret(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "",
            "k",
            "host",
            "accept-encoding",
            "content-length",
            "user-agent",
            "anthropic-version",
            "openai-organization",
            "x-stainless-package-version",
            "keep-alive",
            "idempotency-key",
            "Idempotency-Key",
            "cf-aig-cache-key",
            "prompt_cache_key",
            "sec-websocket-key",
            "x-session-affinity",
            "x-claude-code-session-id",
            "session_id",
            "max_tokens",
            "pageToken",
            "page_token",
            "encoding",
            "codec",
            "significant",
            "api-version",
            "alt",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_word_is_found_wherever_it_stands(
            before in "[a-z-]{0,8}",
            (word, _) in prop::sample::select(&WORDS[..]),
            upper in any::<bool>(),
        ) {
            let word = std::str::from_utf8(word).unwrap();
            let word = if upper { word.to_ascii_uppercase() } else { word.to_owned() };
            prop_assert!(is_secret(&format!("{before}{word}x")), "{before}{word}x");
        }

        #[test]
        fn no_name_is_too_odd(name in "\\PC{0,24}") {
            let lower = name.to_ascii_lowercase();
            let words = || WORDS.iter().map(|(word, _)| std::str::from_utf8(word).unwrap());
            if is_secret(&name) {
                let whole = WHOLE.contains(&lower.as_bytes());
                prop_assert!(whole || words().any(|word| lower.contains(word)));
            }
        }
    }
}
