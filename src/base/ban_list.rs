//! Bans: addresses, networks and owners of credentials that are not served, as a file of the operator's lists
//! them, one a line. Knows neither files nor connections.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::base::peers::parse_network;

/// The form of a line, in words that follow "must be".
const LINE_RULE: &str = "an address, a network such as 10.0.0.0/8, token NAME or subject NAME";

/// Everything that is banned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BanList {
    /// In their order, and apart from each other.
    ranges: Box<[AddressRange]>,
    tokens: BTreeSet<Box<str>>,
    subjects: BTreeSet<Box<str>>,
}

/// Addresses that follow one another, as numbers of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AddressRange {
    first: u128,
    last: u128,
}

impl BanList {
    /// Reads the lines of a text. Empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// The first line that says nothing that can be banned.
    pub fn parse(text: &str) -> Result<BanList, String> {
        let mut bans = BanList::default();
        let mut ranges = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some("token"), Some(name), None) => drop(bans.tokens.insert(name.into())),
                (Some("subject"), Some(name), None) => drop(bans.subjects.insert(name.into())),
                (Some(address), None, _) if parse_network(address).is_some() => {
                    ranges.extend(parse_network(address).map(AddressRange::of));
                }
                _ => return Err(format!("line {} must be {LINE_RULE}", index + 1)),
            }
        }
        bans.ranges = joined(ranges);
        Ok(bans)
    }

    /// Whether nothing is banned.
    pub(crate) fn is_empty(&self) -> bool {
        !self.has_addresses() && self.owners() == 0
    }

    /// Whether addresses are banned.
    pub(crate) fn has_addresses(&self) -> bool {
        !self.ranges.is_empty()
    }

    /// Number of ranges of addresses.
    pub(crate) fn ranges(&self) -> usize {
        self.ranges.len()
    }

    /// Number of owners of credentials.
    pub(crate) fn owners(&self) -> usize {
        self.tokens.len() + self.subjects.len()
    }

    /// Whether an address is banned.
    pub fn bans_address(&self, address: IpAddr) -> bool {
        let number = number_of(address);
        let place = self.ranges.partition_point(|range| range.last < number);
        self.ranges.get(place).is_some_and(|range| range.first <= number)
    }

    /// Whether the token of a name is banned.
    pub(crate) fn bans_token(&self, name: &str) -> bool {
        self.tokens.contains(name)
    }

    /// Whether the signed tokens of a subject are banned.
    pub(crate) fn bans_subject(&self, name: &str) -> bool {
        self.subjects.contains(name)
    }
}

impl AddressRange {
    fn of(network: IpNet) -> AddressRange {
        AddressRange { first: number_of(network.network()), last: number_of(network.broadcast()) }
    }
}

/// The number of an address; one of IPv4 is mapped into IPv6.
fn number_of(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address).to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Sorts ranges, and joins those that overlap.
fn joined(mut ranges: Vec<AddressRange>) -> Box<[AddressRange]> {
    ranges.sort_unstable();
    let mut apart: Vec<AddressRange> = Vec::new();
    for range in ranges {
        match apart.last_mut().filter(|before| range.first <= before.last) {
            Some(before) => before.last = before.last.max(range.last),
            None => apart.push(range),
        }
    }
    apart.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn a_list_bans_what_its_lines_say_and_nothing_else() {
        let text = "# scanners\n192.0.2.7\n\n10.0.0.0/8   # a network\n10.1.0.0/16\r\n2001:db8:7::/64\n\
                    token wallboard\nsubject user-7\n";
        let bans = BanList::parse(text).expect("all lines are good");
        let rows = [
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.6", false),
            ("192.0.2.8", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("2001:db8:7::1", true),
            ("2001:db8:7:1::1", false),
            ("::", false),
        ];
        for (address, expected) in rows {
            assert_eq!(bans.bans_address(address.parse().expect("an address")), expected, "{address}");
        }
        assert!(bans.bans_token("wallboard") && !bans.bans_token("user-7") && bans.bans_subject("user-7"));
        assert_eq!((bans.ranges(), bans.owners(), bans.is_empty()), (3, 2, false));
        assert!(BanList::parse("# nobody\n").expect("good").is_empty());
    }

    #[test]
    fn a_line_that_bans_nothing_is_named() {
        for line in ["10.0.0", "10.0.0.1 10.0.0.2", "token", "token a b", "user a", "10.0.0.0/33", "*"] {
            let told = BanList::parse(&format!("10.0.0.1\n{line}\n")).expect_err(line);
            assert_eq!(told, format!("line 2 must be {LINE_RULE}"));
        }
    }

    /// The slow, obvious twin: each network is asked.
    #[test]
    fn overlapping_networks_ban_as_each_of_them_does() {
        let mut prng = Prng::new(5);
        let lines: Vec<String> = (0..60)
            .map(|_| format!("10.0.{}.{}/{}", prng.below(4), prng.below(256), 24 + prng.below(9)))
            .collect();
        let bans = BanList::parse(&lines.join("\n")).expect("networks");
        let networks: Vec<IpNet> = lines.iter().map(|line| line.parse().expect("a network")).collect();
        for number in 0..1_024_u32 {
            let address = IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number));
            let expected = networks.iter().any(|network| network.contains(&address));
            assert_eq!(bans.bans_address(address), expected, "{address}");
        }
    }
}
