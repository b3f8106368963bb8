//! Formats that are not known: bytes pass, nothing is read from them.

use isango_types::Operation;

use crate::facts::Facts;
use crate::format::{Event, Format};
use crate::read::Reading;

/// What method and path tell.
pub(crate) fn facts<'p>(method: &str, path: &'p str) -> Facts<'p> {
    let _ = (method, path);
    Facts::default()
}

/// The state of one stream.
pub(crate) struct Opaque {}

impl Format for Opaque {
    fn new(operation: Operation) -> Self {
        let _ = operation;
        Self {}
    }

    fn whole(operation: Operation, body: &[u8], out: &mut Reading) {
        let _ = (operation, body, out);
    }

    fn event(&mut self, event: &Event<'_>, out: &mut Reading) -> bool {
        let _ = (event, out);
        false
    }

    fn finish(self, out: &mut Reading) -> Option<Vec<u8>> {
        let _ = out;
        None
    }
}
