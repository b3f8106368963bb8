//! Tells the operator why providers fail: what an attempt's word leaves out. In a few lines, also
//! when every request fails.

use std::collections::HashMap;
use std::error::Error as Cause;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::Error;

/// The same failure of the same target is told at most once in this time.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Failures that are remembered at most; beyond it none is told that is new.
const MAX_REMEMBERED: usize = 1_024;
/// Longest text of one cause, in bytes.
const MAX_TEXT: usize = 256;
/// Longest chain of causes that is told.
const MAX_CAUSES: usize = 8;

/// What was told last, by target and word.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<HashMap<(Box<str>, &'static str), Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    /// How often it has failed since.
    silent: u64,
}

impl Failures {
    /// Logs that `target` failed with `error`, if it is time to. Its causes hold nothing of the
    /// request.
    pub(crate) fn tell(&self, target: &str, error: &Error) {
        let Some(word) = error.attempt_word() else {
            return;
        };
        if let Some(suppressed) = self.due(target, word, Instant::now()) {
            let cause = chain(error);
            tracing::warn!(target, error = word, cause, suppressed, "a provider failed");
        }
    }

    /// How many failures were passed over since the last that was told; `None`: so is this one.
    fn due(&self, target: &str, word: &'static str, now: Instant) -> Option<u64> {
        let mut told = self.0.lock();
        if let Some(told) = told.get_mut(&(target.into(), word)) {
            if now.duration_since(told.at) < TOLD_EVERY {
                told.silent += 1;
                return None;
            }
            told.at = now;
            return Some(std::mem::take(&mut told.silent));
        }
        if told.len() >= MAX_REMEMBERED {
            told.retain(|_, told| now.duration_since(told.at) < TOLD_EVERY);
        }
        if told.len() >= MAX_REMEMBERED {
            return None;
        }
        let first = Told { at: now, silent: 0 };
        told.insert((target.into(), word), first);
        Some(0)
    }
}

/// What lies at the bottom of an error, for the record; `None`: the error says it all.
pub(crate) fn cause(error: &Error) -> Option<Box<str>> {
    Some(text(causes(error).last()?).into())
}

/// What the operator reads of an error: every cause, outermost first.
fn chain(error: &Error) -> String {
    let mut texts: Vec<String> = causes(error).map(text).collect();
    // Wrappers that show what they wrap.
    texts.dedup();
    texts.join(": ")
}

fn causes<'e>(error: &'e Error) -> impl Iterator<Item = &'e (dyn Cause + 'static)> {
    let next = |cause: &&'e (dyn Cause + 'static)| (**cause).source();
    std::iter::successors(error.source(), next).take(MAX_CAUSES)
}

/// A provider may have a say in it, so it is neither long nor more than one line.
fn text(cause: &(dyn Cause + 'static)) -> String {
    let mut text = cause.to_string().replace(char::is_control, " ");
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_failure_that_repeats_is_told_now_and_then_and_counted_between() {
        let failures = Failures::default();
        let begun = Instant::now();
        let due = |target, word, ms| failures.due(target, word, begun + Duration::from_millis(ms));
        assert_eq!(due("a", "tls_failed", 0), Some(0));
        assert_eq!(due("a", "tls_failed", 0), None);
        assert_eq!(due("a", "no_answer", 0), Some(0));
        assert_eq!(due("b", "tls_failed", 0), Some(0));
        assert_eq!(due("a", "tls_failed", 9_999), None);
        assert_eq!(due("a", "tls_failed", 10_000), Some(2));
        assert_eq!(due("a", "tls_failed", 10_000), None);
        assert_eq!(due("b", "tls_failed", 10_000), Some(0));
    }

    #[test]
    fn only_so_many_failures_are_remembered() {
        let failures = Failures::default();
        let now = Instant::now();
        for number in 0..MAX_REMEMBERED {
            assert_eq!(failures.due(&number.to_string(), "no_answer", now), Some(0));
        }
        assert_eq!(failures.due("one more", "no_answer", now), None);
        assert_eq!(failures.0.lock().len(), MAX_REMEMBERED);
        let later = now + TOLD_EVERY;
        assert_eq!(failures.due("one more", "no_answer", later), Some(0));
        assert_eq!(failures.0.lock().len(), 1);
    }

    #[test]
    fn the_bottom_of_an_error_is_its_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Error::TlsFailed(Outer(io::Error::other("bad\ncertificate")).into());
        assert_eq!(cause(&error).as_deref(), Some("bad certificate"));
        assert_eq!(chain(&error), "outer: bad certificate");
        assert_eq!(cause(&Error::ConnectTimeout), None);
        let long = Error::NoAnswer("é".repeat(MAX_TEXT).into());
        assert_eq!(cause(&long).unwrap().len(), MAX_TEXT);
    }
}
