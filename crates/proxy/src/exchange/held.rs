//! What an exchange holds of its gateway's limits.

use super::{Draft, Exchange};
use crate::limit::Permit;

impl Exchange {
    /// Whether a limit may end the answer when it brings more than is held for it.
    pub(crate) fn may_cut(&self) -> bool {
        let permit = self.draft.as_ref().and_then(|draft| draft.permit.as_ref());
        permit.is_some_and(|permit| permit.may_cut())
    }

    /// Whether the answer, which has begun, may bring so much and no more.
    pub(crate) fn is_bounded(&self) -> bool {
        let permit = self.draft.as_ref().and_then(|draft| draft.permit.as_ref());
        permit.is_some_and(|permit| permit.is_bounded())
    }

    /// Whether a limit sent the request away from `target`.
    pub(crate) fn has_left(&self, target: &str) -> bool {
        let permit = self.draft.as_ref().and_then(|draft| draft.permit.as_ref());
        permit.is_some_and(|permit| permit.has_left(target))
    }

    /// Whether a limit sent the request elsewhere.
    pub(crate) fn is_diverted(&self) -> bool {
        let permit = self.draft.as_ref().and_then(|draft| draft.permit.as_ref());
        permit.is_some_and(|permit| permit.is_diverted())
    }

    /// What is held at other targets than this one, which answers, goes back.
    pub(crate) fn settles_at(&mut self, target: &str) {
        self.note(|draft| {
            if let Some(permit) = &mut draft.permit {
                permit.settles_at(target);
            }
        });
    }

    /// Takes what the request holds of limits, to hold more; it must be given back.
    pub(crate) fn take_permit(&mut self) -> Option<Box<Permit>> {
        self.draft.as_mut()?.permit.take()
    }

    /// What the request holds of limits.
    pub(crate) fn holds_permit(&mut self, permit: Box<Permit>) {
        self.note(|draft| draft.permit = Some(permit));
    }

    /// Notes what the request holds of its limits: from here on it draws from them, whatever becomes
    /// of the process.
    pub(crate) fn commits(&mut self) {
        self.note(Draft::commits);
    }
}
