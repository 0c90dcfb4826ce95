//! Whose an address is, where those who come are counted.

use std::net::{IpAddr, Ipv6Addr};

/// Of an address of IPv6 its first half: who has one has all that begin like it. An address of IPv4 is itself, however
/// it is written.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_holder_are_one() {
        let network = |address: &str| network(address.parse().unwrap()).to_string();
        for (address, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
            ("2001:db8:1:3::6", "2001:db8:1:3::"),
        ] {
            assert_eq!(network(address), expected, "{address}");
        }
    }
}
