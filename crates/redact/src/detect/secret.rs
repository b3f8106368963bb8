//! Keys and tokens: by what those of well-known services begin with, or by how random they look.

use std::sync::LazyLock;

use super::{Pattern, Span, add};
use regex::Regex;

/// What tokens of well-known services begin with.
const BEGINNINGS: &str = "sk-|sk_live_|sk_test_|rk_live_|pk_live_|whsec_|ghp_|gho_|ghs_|ghu_|ghr_|\
                          github_pat_|glpat-|npm_|xox[abpr]-|xapp-|AKIA|ASIA|AIza|isg_|hf_|gsk_|\
                          xai-|pplx-";
/// Shortest token that has such a beginning.
const MIN_KNOWN: usize = 16;
/// Shortest token that may be one by its looks alone.
const MIN_RANDOM: usize = 24;
/// Bits for each character above which a token looks random.
const MIN_BITS: f64 = 4.0;

/// With its left border, which an escaped line break is, too.
static KNOWN: Pattern = LazyLock::new(|| {
    let key = r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\]*(?:-----END [A-Z ]*PRIVATE KEY-----)?";
    let jwt = r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*";
    let token = format!("(?:{BEGINNINGS})[A-Za-z0-9+/_=-]{{8,}}");
    Regex::new(&format!(r"(?:^|[^A-Za-z0-9]|\\[nrt])({key}|{jwt}|{token})")).ok()
});
/// What may be a random token, and others joined to it.
static RUN: Pattern = LazyLock::new(|| Regex::new("[A-Za-z0-9+/_=-]{24,}").ok());
/// Ids that look random and open nothing.
static ID: Pattern = LazyLock::new(|| {
    let kinds = "chatcmpl-|msg_|resp_|call_|toolu_|req_|fp_|file-|run_|thread_";
    Regex::new(&format!("^(?:{kinds})(?:vrtx_|bdrk_)?[A-Za-z0-9]{{8,64}}$")).ok()
});

/// Where keys and tokens are.
pub(super) fn find(text: &str) -> Vec<Span> {
    let mut found = find_known(text);
    if let Some(runs) = RUN.as_ref() {
        let runs = runs.find_iter(text);
        found.extend(runs.flat_map(|run| random(run.as_str(), run.start())));
    }
    found.sort_unstable_by_key(|span| span.start);
    let mut all = Vec::with_capacity(found.len());
    for span in found {
        add(&mut all, span);
    }
    all
}

/// Where those of well-known services are.
pub(super) fn find_known(text: &str) -> Vec<Span> {
    let known = KNOWN.as_ref().map(|known| known.captures_iter(text));
    let known = known.into_iter().flatten().filter_map(|found| found.get(1));
    let known = known.filter(|found| found.len() >= MIN_KNOWN);
    known.map(|found| found.range()).collect()
}

/// Random tokens of a run that begins at a place: `=` stands between a name and its value, or fills
/// the end of a token.
fn random(run: &str, start: usize) -> Vec<Span> {
    let mut all = Vec::new();
    let mut at = 0;
    for part in run.split_inclusive('=') {
        let (token, begin) = (part.trim_end_matches('='), at);
        at += part.len();
        // What leads to an id is looked at without it.
        let (before, last) = token.rsplit_once('/').unwrap_or(("", token));
        let is_id = ID.as_ref().is_some_and(|id| id.is_match(last));
        let token = if is_id { before } else { token };
        if is_random(token) {
            let fill = run[at..].bytes().take_while(|byte| *byte == b'=');
            let end = if is_id {
                begin + token.len()
            } else {
                at + fill.count()
            };
            all.push(start + begin..start + end);
        }
    }
    all
}

fn is_random(token: &str) -> bool {
    let has = |is: fn(&u8) -> bool| token.bytes().any(|byte| is(&byte));
    let is_mixed =
        has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    // A path or a list of words has separators, and few digits.
    token.len() >= MIN_RANDOM && is_mixed && bits(token) >= MIN_BITS
}

/// Shannon's entropy of a text, in bits for each byte.
fn bits(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let shares = counts.iter().filter(|count| **count > 0);
    let shares = shares.map(|count| f64::from(*count) / length);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}
