//! How often somebody may try to sign in: by name, by address, and by both, so that neither many
//! names from one address nor many addresses for one name get far.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use isango_types::Timestamp;
use parking_lot::Mutex;

/// How long tries are counted.
const WINDOW: Duration = Duration::from_secs(15 * 60);
/// Failures for a name from one address.
const OF_BOTH: u32 = 10;
/// Failures from one address.
const OF_ADDRESS: u32 = 50;
/// Failures for a name, from wherever: a bound on guessing that an attacker can hold against the
/// owner of the name.
const OF_NAME: u32 = 100;
/// What is counted at once; what was tried least often makes room.
const MOST: usize = 10_000;
/// Bytes of a name that count; a longer one is nobody's.
const MAX_NAME: usize = 128;

/// Counts tries.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<HashMap<Key, Count>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Both(Box<str>, IpAddr),
    Address(IpAddr),
    Name(Box<str>),
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Timestamp,
    tries: u32,
}

/// A try that was counted. One that succeeds is no failure.
#[derive(Debug)]
pub(crate) struct Try(Vec<Key>);

impl Throttle {
    /// Counts a try before it is made, so that none are made side by side beyond the bound.
    ///
    /// # Errors
    /// There were too many; how long to wait.
    pub(crate) fn take(&self, name: &str, from: IpAddr, now: Timestamp) -> Result<Try, Duration> {
        let name: Box<str> = name.chars().take(MAX_NAME).collect::<String>().into();
        let from = network(from);
        let keys = [
            (Key::Address(from), OF_ADDRESS),
            (Key::Both(name.clone(), from), OF_BOTH),
            (Key::Name(name.clone()), OF_NAME),
        ];
        // A code that nobody guesses is for no name.
        let keys = match name.is_empty() {
            true => &keys[..1],
            false => &keys,
        };
        let mut counts = self.0.lock();
        for (key, most) in keys {
            let count = counts
                .get(key)
                .filter(|count| now < count.since.plus(WINDOW));
            if let Some(count) = count.filter(|count| count.tries >= *most) {
                let left = count.since.plus(WINDOW).as_micros() - now.as_micros();
                return Err(Duration::from_micros(left));
            }
        }
        if counts.len() + keys.len() > MOST {
            make_room(&mut counts, now);
        }
        let keys: Vec<Key> = keys.iter().map(|(key, _most)| key.clone()).collect();
        for key in &keys {
            let fresh = Count {
                since: now,
                tries: 0,
            };
            let count = counts.entry(key.clone()).or_insert(fresh);
            if count.since.plus(WINDOW) <= now {
                *count = fresh;
            }
            count.tries += 1;
        }
        Ok(Try(keys))
    }

    /// It was no failure.
    pub(crate) fn give_back(&self, made: &Try) {
        let mut counts = self.0.lock();
        for key in &made.0 {
            if let Some(count) = counts.get_mut(key) {
                count.tries = count.tries.saturating_sub(1);
            }
        }
    }
}

/// What one subscriber has: of IPv6, a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// Forgets what does not count any more, and where that is not enough a quarter: what was tried least
/// often, and of that the oldest, so that nobody is let guess on by others who try once.
fn make_room(counts: &mut HashMap<Key, Count>, now: Timestamp) {
    counts.retain(|_, count| now < count.since.plus(WINDOW));
    if counts.len() <= MOST - MOST / 4 {
        return;
    }
    let by_weight = counts
        .iter()
        .map(|(key, count)| (count.tries, count.since, key.clone()));
    let mut by_weight: Vec<(u32, Timestamp, Key)> = by_weight.collect();
    by_weight.sort_by_key(|(tries, since, _)| (*tries, *since));
    for (_, _, key) in by_weight.iter().take(MOST / 4) {
        counts.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn from(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// How many of so many tries are let through.
    fn admitted(throttle: &Throttle, many: u32, each: impl Fn(u32) -> (String, IpAddr)) -> u32 {
        let tries = (0..many).map(each);
        let let_in = |(name, from): &(String, IpAddr)| throttle.take(name, *from, at(1)).is_ok();
        u32::try_from(tries.filter(let_in).count()).unwrap()
    }

    #[test]
    fn guessing_is_bounded_by_name_by_address_and_by_both() {
        let throttle = Throttle::default();
        assert_eq!(
            admitted(&throttle, 20, |_| ("ada".into(), from(1))),
            OF_BOTH
        );
        let names = |n: u32| (format!("user{n}"), from(2));
        assert_eq!(admitted(&throttle, 80, names), OF_ADDRESS);
        let addresses = |n: u32| ("eve".into(), from(u8::try_from(n).unwrap()));
        // Two of the addresses have none left.
        assert_eq!(admitted(&Throttle::default(), 200, addresses), OF_NAME);
        assert_eq!(admitted(&throttle, 1, |_| ("bob".into(), from(3))), 1);
    }

    #[test]
    fn an_attack_from_one_address_keeps_nobody_else_out() {
        let throttle = Throttle::default();
        admitted(&throttle, 1_000, |_| ("ada".into(), from(1)));
        assert!(throttle.take("ada", from(9), at(1)).is_ok());
    }

    #[test]
    fn the_window_opens_again_and_success_is_no_failure() {
        let throttle = Throttle::default();
        for _ in 0..100 {
            let made = throttle.take("ada", from(1), at(0)).unwrap();
            throttle.give_back(&made);
        }
        for _ in 0..OF_BOTH {
            throttle.take("ada", from(1), at(0)).unwrap();
        }
        let wait = throttle.take("ada", from(1), at(100)).unwrap_err();
        assert_eq!(wait, Duration::from_secs(800));
        assert!(throttle.take("ada", from(1), at(900)).is_ok());
    }

    #[test]
    fn who_tried_often_is_not_forgotten_for_many_who_tried_once() {
        let throttle = Throttle::default();
        admitted(&throttle, 1_000, |_| ("ada".into(), from(1)));
        for n in 0..20_000_u32 {
            let [_, a, b, c] = n.to_be_bytes();
            let made = throttle.take(&n.to_string(), IpAddr::from([11, a, b, c]), at(2));
            assert!(made.is_ok(), "{n}");
        }
        assert!(throttle.take("ada", from(1), at(3)).is_err());
    }

    #[test]
    fn one_network_is_one_address_and_memory_is_bounded() {
        let throttle = Throttle::default();
        let v6 = |n: u32| (format!("u{n}"), format!("2001:db8::{n:x}").parse().unwrap());
        assert_eq!(admitted(&throttle, 80, v6), OF_ADDRESS);
        for n in 0..20_000_u32 {
            let [_, a, b, c] = n.to_be_bytes();
            let made = throttle.take(&n.to_string(), IpAddr::from([11, a, b, c]), at(2));
            assert!(made.is_ok(), "{n}");
        }
        assert!(throttle.0.lock().len() <= MOST);
    }
}
