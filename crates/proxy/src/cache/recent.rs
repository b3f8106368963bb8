//! The questions that were kept last, by their prints: what a miss is compared with, so that an
//! operator is told in what it differed.

use std::collections::VecDeque;
use std::sync::Arc;

use isango_types::RecordId;
use parking_lot::Mutex;

use super::question::Prints;

/// Questions that are remembered.
const MAX: usize = 256;

/// The questions that were kept last, newest first.
#[derive(Debug, Default)]
pub(crate) struct Recent(Mutex<VecDeque<(RecordId, Arc<Prints>)>>);

impl Recent {
    /// Remembers a question that is kept now.
    pub(crate) fn add(&self, filled_by: RecordId, prints: Arc<Prints>) {
        let mut recent = self.0.lock();
        recent.truncate(MAX - 1);
        recent.push_front((filled_by, prints));
    }

    /// The one of those before `asked` that differs least, the newest of several, and in what.
    pub(crate) fn nearest(
        &self,
        prints: &Prints,
        asked: RecordId,
    ) -> Option<(RecordId, Vec<Box<str>>)> {
        let recent = self.0.lock();
        let compared = recent
            .iter()
            .filter(|(id, _)| *id < asked)
            .map(|(id, other)| (*id, other, prints.distance(other)));
        let (id, other, _) = compared.min_by_key(|(_, _, distance)| *distance)?;
        let other = Arc::clone(other);
        drop(recent);
        let differs = prints.differ(&other).into_iter().map(Into::into);
        Some((id, differs.collect()))
    }
}

#[cfg(test)]
mod tests {
    use isango_types::Timestamp;

    use super::*;

    #[test]
    fn the_question_that_differs_least_is_found() {
        let recent = Recent::default();
        let id = |n| RecordId::new(Timestamp::from_micros(n));
        let (far, near, newer, now) = (id(1), id(2), id(3), id(4));
        assert_eq!(recent.nearest(&Prints::of(&[("body", 1)]), now), None);
        let prints = |list: &[(&str, u64)]| Arc::new(Prints::of(list));
        recent.add(far, prints(&[("model", 8), ("accept", 1), ("body", 9)]));
        recent.add(near, prints(&[("model", 2), ("body", 9)]));
        recent.add(newer, prints(&[("model", 2), ("body", 7)]));
        let asked = Prints::of(&[("model", 2), ("accept", 1), ("body", 9)]);
        let differs = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        assert_eq!(
            recent.nearest(&asked, now),
            Some((near, differs(&["accept"])))
        );
        assert_eq!(
            recent.nearest(&asked, near),
            Some((far, differs(&["model"])))
        );
        let asked = Prints::of(&[("model", 2), ("body", 6)]);
        assert_eq!(
            recent.nearest(&asked, now),
            Some((newer, differs(&["body"])))
        );
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let recent = Recent::default();
        for n in 0..1_000 {
            let prints = Arc::new(Prints::of(&[("body", n)]));
            recent.add(RecordId::new(Timestamp::from_micros(n)), prints);
        }
        assert_eq!(recent.0.lock().len(), MAX);
    }
}
