//! Codes of failures and remarks: one meaning each, which never changes. The compiler refuses a
//! number that stands twice; `docs/api.md` tells what they mean.

use serde::{Serialize, Serializer};

/// What kind of failure or remark it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    /// The base URL of a custom provider is none.
    BaseUrl = 1_002,
    /// The slug of a custom provider is taken.
    Slug = 1_003,
    /// There is no such custom provider.
    NoProvider = 1_004,
    /// Remark: a rate of a custom provider is kept and has no effect.
    KeptPrice = 1_010,
    /// A member of the body is wrong.
    Wrong = 7_001,
    /// There is no such thing.
    NotFound = 7_002,
    /// There is no such path.
    Unroutable = 7_003,
    /// Beside [`Code::Unroutable`].
    NoRoute = 7_000,
    /// Managed by file; a remark, where it is only read.
    OfFile = 7_010,
    /// The name is taken.
    Taken = 7_011,
    /// It has changed meanwhile.
    Changed = 7_012,
    /// This version does not have it.
    Later = 7_013,
    /// There is room for no more.
    Full = 7_014,
    /// The body is too large.
    TooLarge = 7_015,
    /// As many as may be are under way.
    Busy = 7_016,
    /// The link leads nowhere.
    NoLink = 7_017,
    /// A change by a session does not show where it comes from.
    NoCsrf = 7_018,
    /// Too many tries to sign in.
    TooManyTries = 7_019,
    /// A key of a request that was something else.
    OtherBody = 7_020,
    /// A key whose request cannot be answered again.
    SameKey = 7_021,
    /// Remark: a provider key is the default of none.
    NotDefault = 7_022,
    /// Remark: a value was forgotten.
    Forgotten = 7_023,
    /// The body did not come in time.
    TooSlow = 7_024,
    /// Remark: a field is kept and has no effect.
    NotInForce = 7_025,
    /// Remark: not everything was looked at.
    NotAll = 7_026,
    /// We failed.
    Internal = 7_500,
    /// Whoever asks may not do this.
    Forbidden = 9_109,
    /// Nobody knows who is asking.
    Unauthenticated = 10_000,
    /// The path does not take this method.
    NoMethod = 10_405,
}

impl Code {
    /// The number.
    const fn number(self) -> u32 {
        self as u32
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.number())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_documentation_has_every_code() {
        let here = include_str!("codes.rs");
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
        let docs = ["api.md", "custom-providers.md"]
            .map(|name| std::fs::read_to_string(format!("{docs}/{name}")).unwrap())
            .concat();
        let numbers = here.lines().filter_map(|line| {
            let (_, number) = line.trim().strip_suffix(',')?.split_once(" = ")?;
            Some(number.replace('_', ""))
        });
        let numbers: Vec<String> = numbers.collect();
        assert!(numbers.len() > 25, "{numbers:?}");
        for number in numbers {
            assert!(docs.contains(&number), "{number} is not explained");
        }
    }
}
