//! Finds texts among [`Words`], where each is once.

use std::hash::BuildHasher;

use crate::chunk::Words;
use crate::fields::NO_WORD;
use crate::hash;

/// Slots of the first table.
const FIRST: usize = 16;

/// Codes by text. It has hashes and codes alone and the texts stay where they are, one after the
/// other: of a hundred thousand of them, all is small enough for a processor's cache.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    hasher: hash::Texts,
    /// Some of the bits of a text's hash, and its code; [`NO_WORD`]: none. At most half of them are
    /// taken, and their number is a power of two.
    slots: Vec<(u32, u32)>,
    taken: usize,
}

impl Lookup {
    /// Of texts that are there already.
    pub(crate) fn of(words: &Words) -> Self {
        let mut made = Self::default();
        for (word, code) in words.iter().zip(0..) {
            made.put(made.hash(word), code);
        }
        made
    }

    /// The code of a text.
    pub(crate) fn get(&self, words: &Words, word: &str) -> Option<u32> {
        self.find(self.hash(word), words, word)
    }

    /// The code of a text, which is added if it is not there.
    pub(crate) fn code(&mut self, words: &mut Words, word: &str) -> u32 {
        let hash = self.hash(word);
        if let Some(code) = self.find(hash, words, word) {
            return code;
        }
        let code = words.push(word);
        self.put(hash, code);
        code
    }

    fn hash(&self, word: &str) -> u32 {
        let hash = self.hasher.hash_one(word);
        u32::try_from(hash >> 32).unwrap_or(0)
    }

    fn find(&self, hash: u32, words: &Words, word: &str) -> Option<u32> {
        let mut place = self.first(hash);
        loop {
            let (taken, code) = *self.slots.get(place)?;
            if code == NO_WORD {
                return None;
            }
            if taken == hash && words.is(code, word) {
                return Some(code);
            }
            place = self.behind(place);
        }
    }

    /// Adds a code.
    fn put(&mut self, hash: u32, code: u32) {
        if self.slots.len() <= 2 * self.taken {
            let size = (2 * self.slots.len()).max(FIRST);
            let old = std::mem::replace(&mut self.slots, vec![(0, NO_WORD); size]);
            for (hash, code) in old.into_iter().filter(|(_, code)| *code != NO_WORD) {
                self.take(hash, code);
            }
        }
        self.take(hash, code);
        self.taken += 1;
    }

    /// Takes the first free slot for a code.
    fn take(&mut self, hash: u32, code: u32) {
        let mut place = self.first(hash);
        while self.slots[place].1 != NO_WORD {
            place = self.behind(place);
        }
        self.slots[place] = (hash, code);
    }

    /// Where the search for a hash begins.
    fn first(&self, hash: u32) -> usize {
        usize::try_from(hash).unwrap_or(0) & self.slots.len().saturating_sub(1)
    }

    /// Where it goes on.
    const fn behind(&self, place: usize) -> usize {
        (place + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_text_has_one_code(texts in proptest::collection::vec("[ab]{0,6}", 0..300)) {
            let (mut lookup, mut words) = (Lookup::default(), Words::default());
            let mut model: HashMap<String, u32> = HashMap::new();
            for text in &texts {
                prop_assert_eq!(lookup.get(&words, text), model.get(text).copied());
                let next = u32::try_from(model.len()).unwrap();
                let code = *model.entry(text.clone()).or_insert(next);
                prop_assert_eq!(lookup.code(&mut words, text), code);
                prop_assert_eq!(words.get(code), Some(&**text));
            }
            prop_assert_eq!(words.len(), model.len());
            let again = Lookup::of(&words);
            prop_assert!(model.iter().all(|(text, code)| again.get(&words, text) == Some(*code)));
        }
    }
}
