//! Files that are changed at random, from a seed: whatever is read from them, nothing panics, hangs
//! or takes memory, and what is damaged is told.

use std::fs;

use isango_store::filter::Filter;
use isango_store::logs::{LogReader as _, LogWriter as _, Position, Query};
use tempfile::TempDir;

use super::{batch, files, open, sample, small_files};
use crate::{Records, verify};

/// Rounds of each kind of file; `ISANGO_DAMAGE_ROUNDS` sets another number.
const ROUNDS: u64 = 100;

/// xorshift64*.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(number).unwrap() % limit.max(1)
    }

    /// Changes some bytes: flips, numbers at their bounds, cuts, doubled and swapped pieces.
    pub(super) fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let len = self.below(64).min(bytes.len() - at);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at..at + len].fill([0, 0xFF, 0x7F, 0x80][self.below(4)]),
                2 => bytes.truncate(at),
                3 => drop(bytes.splice(at..at, vec![0xA5; len])),
                4 => {
                    let piece = bytes[at..at + len].to_vec();
                    let to = self.below(bytes.len());
                    drop(bytes.splice(to..to, piece));
                }
                _ => drop(bytes.drain(at..at + len)),
            }
        }
    }
}

fn check_damage(ending: &str) {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path(), small_files());
    batch(0, 40)
        .chunks(4)
        .for_each(|some| store.append(some).unwrap());
    store.indexer.finish().unwrap();
    drop(store);
    let names = files(dir.path(), "");
    let whole: Vec<Vec<u8>> = names.iter().map(|file| fs::read(file).unwrap()).collect();
    let query = Query {
        filter: Filter::parse("\"question 7\"", sample::START).unwrap(),
        ..Query::default()
    };
    let rounds = std::env::var_os("ISANGO_DAMAGE_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |rounds| rounds.to_str().unwrap().parse().unwrap());
    for seed in 1..=rounds {
        let mut chance = Chance(seed);
        let targets = files(dir.path(), ending);
        let target = &targets[chance.below(targets.len())];
        let mut bytes = fs::read(target).unwrap();
        chance.damage(&mut bytes);
        let is_changed = bytes != fs::read(target).unwrap();
        fs::write(target, bytes).unwrap();
        let report = verify(dir.path());
        let is_last = targets.last() == Some(target);
        if ending == ".jsonl.zst" && is_changed && !is_last {
            assert!(
                !report.is_ok_and(|report| report.is_intact()),
                "seed {seed}"
            );
        }
        // An error is an answer; a panic would be none.
        if let Ok(reader) = Records::open_read_only(dir.path()) {
            let found = (reader.query(&query), reader.follow(Position::START, 100));
            if ending != ".jsonl.zst" {
                let (found, (followed, _)) = (found.0.unwrap(), found.1.unwrap());
                assert_eq!(
                    (found.records.len(), followed.len()),
                    (1, 40),
                    "seed {seed}"
                );
            }
        }
        if let Ok(store) = Records::open(dir.path(), small_files()) {
            let _found = (store.query(&query), store.append(&[sample::record(900)]));
        }
        files(dir.path(), "")
            .iter()
            .for_each(|file| fs::remove_file(file).unwrap());
        for (name, bytes) in names.iter().zip(&whole) {
            fs::write(name, bytes).unwrap();
        }
    }
}

#[test]
fn no_damage_of_a_journal_makes_it_panic() {
    check_damage(".jsonl.zst");
}

#[test]
fn no_damage_of_an_index_makes_it_panic() {
    check_damage(".index");
}

#[test]
fn no_damage_of_an_index_of_words_makes_it_panic() {
    check_damage(".words");
}
