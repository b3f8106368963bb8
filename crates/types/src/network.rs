//! A stretch of addresses: one of them, or a network by its prefix.

use std::net::IpAddr;

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// Bits that are the same.
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.7`, `10.0.0.0/8`, `::1` or `fd00::/8`; `None`: it is neither, or the prefix is
    /// longer than the address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
            None => most,
        };
        (prefix <= most).then_some(Self { address, prefix })
    }

    /// Whether an address is one of them. An IPv4 address that is written as one of IPv6 is the same.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_the_addresses_that_begin_like_it() {
        let check = |network: &str, address: &str, is_one: bool| {
            let network = Network::parse(network).unwrap();
            let found = network.contains(address.parse().unwrap());
            assert_eq!(found, is_one, "{network:?} {address}");
        };
        check("10.0.0.7", "10.0.0.7", true);
        check("10.0.0.7", "10.0.0.8", false);
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/31", "10.0.0.1", true);
        check("10.0.0.0/31", "10.0.0.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("::1", "::1", true);
        check("::/0", "fd00::7", true);
        check("fd00::/8", "fd12::7", true);
        check("fd00::/8", "fe00::7", false);
        check("fd00::/8", "10.0.0.1", false);
    }

    #[test]
    fn what_is_no_network_is_none() {
        for wrong in [
            "",
            "a",
            "10.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "::/129",
            "/8",
            "10.0.0.0/8/8",
            "10.0.0.1:80",
        ] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
