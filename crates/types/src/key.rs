//! Gateway tokens: who may come in, as digests only.

use std::collections::BTreeMap;

use crate::record::MetadataValue;

/// What every token of ours begins with, so that people and scanners recognize it.
pub const TOKEN_PREFIX: &str = "isg_";

/// A token that opens gateways. The token itself is never kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its name in records and messages; unique.
    pub name: Box<str>,
    /// The account whose gateways it opens.
    pub account: Box<str>,
    /// Ids of the gateways it opens; empty: all of the account.
    pub gateways: Vec<Box<str>>,
    /// SHA-256 of the whole token, prefix included.
    pub digest: [u8; 32],
    /// Metadata of every request that carries it; wins over what the client claims.
    pub metadata: BTreeMap<Box<str>, MetadataValue>,
}

impl Token {
    /// Whether it opens the gateway `id` of `account`.
    #[must_use]
    pub fn opens(&self, account: &str, id: &str) -> bool {
        *self.account == *account
            && (self.gateways.is_empty() || self.gateways.iter().any(|gateway| **gateway == *id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_gateways_and_no_others() {
        let mut token = Token {
            name: "app".into(),
            account: "local".into(),
            gateways: vec!["support".into()],
            digest: [0; 32],
            metadata: BTreeMap::new(),
        };
        assert!(token.opens("local", "support"));
        assert!(!token.opens("local", "default"));
        assert!(!token.opens("other", "support"));
        token.gateways.clear();
        assert!(token.opens("local", "default"));
        assert!(!token.opens("other", "default"));
    }
}
