//! Per-request headers that override gateway policy (data-plane section 10).
//!
//! A malformed value counts as absent, and the record says so.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::exchange::detached;

/// What a request asks for beyond its gateway's settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// `cf-aig-collect-log`.
    pub(crate) collect_log: Option<bool>,
    /// `cf-aig-collect-log-payload`.
    pub(crate) collect_log_payload: Option<bool>,
    /// `cf-aig-event-id`: 1 to 256 visible ASCII characters.
    pub(crate) event_id: Option<HeaderValue>,
    /// `cf-aig-request-timeout`: time to the first byte.
    pub(crate) first_byte_timeout: Option<Duration>,
    /// `cf-aig-metadata`, unread.
    pub(crate) metadata: Option<HeaderValue>,
    /// `cf-aig-custom-cost`, unread.
    pub(crate) custom_cost: Option<HeaderValue>,
    /// What was malformed and ignored.
    pub(crate) notes: Vec<Box<str>>,
}

/// Reads the options of a request.
pub(crate) fn read(headers: &HeaderMap) -> Options {
    let mut options = Options::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("cf-aig-") else {
            continue;
        };
        options.set(name, value);
    }
    options
}

impl Options {
    fn set(&mut self, name: &str, value: &HeaderValue) {
        match name {
            "collect-log" => self.collect_log = self.boolean(name, value),
            "collect-log-payload" => self.collect_log_payload = self.boolean(name, value),
            "event-id" => {
                let fits = (1..=256).contains(&value.len()) && value.to_str().is_ok();
                if fits {
                    self.event_id = Some(detached(value));
                } else {
                    self.ignore(name, "1 to 256 visible ASCII characters");
                }
            }
            "request-timeout" => {
                let millis = value
                    .to_str()
                    .ok()
                    .and_then(|text| text.trim().parse().ok());
                match millis {
                    Some(millis) if millis > 0 => {
                        self.first_byte_timeout = Some(Duration::from_millis(millis));
                    }
                    _ => self.ignore(name, "a whole number of milliseconds above 0"),
                }
            }
            "metadata" => self.metadata = Some(detached(value)),
            "custom-cost" => self.custom_cost = Some(detached(value)),
            _ => {}
        }
    }

    fn boolean(&mut self, name: &str, value: &HeaderValue) -> Option<bool> {
        let value = value.as_bytes().trim_ascii();
        if value.eq_ignore_ascii_case(b"true") {
            return Some(true);
        }
        if value.eq_ignore_ascii_case(b"false") {
            return Some(false);
        }
        self.ignore(name, "`true` or `false`");
        None
    }

    fn ignore(&mut self, name: &str, right: &str) {
        self.notes
            .push(format!("cf-aig-{name} was ignored: it must be {right}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&'static str, &str)]) -> Options {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, value.parse().unwrap());
        }
        read(&headers)
    }

    #[test]
    fn well_formed_options_are_read() {
        let read = options(&[
            ("cf-aig-collect-log", "false"),
            ("cf-aig-collect-log-payload", "TRUE"),
            ("cf-aig-event-id", "evt-1"),
            ("cf-aig-request-timeout", "2500"),
        ]);
        assert_eq!(read.collect_log, Some(false));
        assert_eq!(read.collect_log_payload, Some(true));
        assert_eq!(read.event_id.unwrap(), "evt-1");
        assert_eq!(read.first_byte_timeout, Some(Duration::from_millis(2500)));
        assert!(read.notes.is_empty());
    }

    #[test]
    fn malformed_options_are_ignored_and_noted() {
        let read = options(&[
            ("cf-aig-collect-log", "no"),
            ("cf-aig-event-id", &"x".repeat(257)),
            ("cf-aig-request-timeout", "-1"),
        ]);
        assert_eq!((read.collect_log, read.first_byte_timeout), (None, None));
        assert!(read.event_id.is_none());
        assert_eq!(read.notes.len(), 3);
        assert_eq!(
            &*read.notes[0],
            "cf-aig-collect-log was ignored: it must be `true` or `false`"
        );
    }
}
