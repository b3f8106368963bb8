//! Parameters of an address, each of which is known.

use std::ops::RangeInclusive;

use isango_types::{Timestamp, nearest};

use crate::answer::{last, pairs};
use crate::error::Failure;

/// What an address asks for.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads the query of an address, whose parameters are all among `known`.
    ///
    /// # Errors
    /// One is not; the nearest is told with it.
    pub(crate) fn read(query: &str, known: &[&str]) -> Result<Self, Failure> {
        let pairs = pairs(query)?;
        let unknown = pairs.iter().find(|(name, _)| !known.contains(&&**name));
        if let Some((name, _)) = unknown {
            let help = nearest(name, known.iter().copied());
            let help = help.map(|help| format!("; {help}")).unwrap_or_default();
            let message = format!("unknown parameter `{name}`{help}");
            return Err(Failure::bad_request(message));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; an empty one is none, of several the last counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        last(&self.0, name).filter(|value| !value.is_empty())
    }

    /// A moment (RFC 3339).
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn moment(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let moment = Timestamp::parse(text);
        moment.map(Some).map_err(|_no_moment| {
            Failure::bad_request(format!(
                "`{name}` must be a moment such as 2026-11-22T16:00:00Z; found `{text}`"
            ))
        })
    }

    /// Whether it is `true`; `false` where it is absent.
    ///
    /// # Errors
    /// It is neither.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(text) => Err(Failure::bad_request(format!(
                "`{name}` must be true or false; found `{text}`"
            ))),
        }
    }

    /// A whole number within bounds; `unset` where it is absent.
    ///
    /// # Errors
    /// It is none.
    pub(crate) fn number(
        &self,
        name: &str,
        within: RangeInclusive<usize>,
        unset: usize,
    ) -> Result<usize, Failure> {
        let Some(text) = self.get(name) else {
            return Ok(unset);
        };
        let number = text.parse().ok().filter(|number| within.contains(number));
        number.ok_or_else(|| {
            Failure::bad_request(format!(
                "`{name}` must be a whole number from {} to {}; found `{text}`",
                within.start(),
                within.end()
            ))
        })
    }
}
