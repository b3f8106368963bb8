//! Formats that are not known: bytes pass, nothing is read from them.

use isango_types::Operation;

use crate::facts::Facts;
use crate::format::{Event, Format};
use crate::read::Reading;

/// Nothing is told by a path that is not known.
pub(crate) fn facts<'p>(_method: &str, _path: &'p str) -> Facts<'p> {
    Facts::default()
}

/// Reads nothing; the events of a stream are counted, and the first of them is its first token.
pub(crate) struct Opaque;

impl Format for Opaque {
    fn new(_: Operation) -> Self {
        Self
    }

    fn whole(_: Operation, _: &[u8], _: &mut Reading) {}

    fn event(&mut self, _: &Event<'_>, _: &mut Reading) -> bool {
        true
    }

    fn finish(self, _: &mut Reading) -> Option<Vec<u8>> {
        None
    }
}
