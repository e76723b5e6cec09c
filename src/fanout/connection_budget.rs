//! How many public connections the node has, in all and of each client address.
//!
//! Shared by all workers: the total is an atomic. Addresses have a lock of their own, taken once for each
//! connection and only when there is a cap.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard};

use super::budget::SharedBudget;
use super::conn::ConnLimit;
use super::hash::SeededHash;

/// Room for public connections.
#[derive(Debug)]
pub struct ConnectionBudget {
    total: SharedBudget,
    /// Connections of one address; 0 for no cap.
    per_address_max: usize,
    addresses: Mutex<HashMap<IpAddr, usize, SeededHash>>,
}

impl ConnectionBudget {
    /// Room for `total` connections. Clients choose addresses, so their table has a keyed `hash`.
    pub(crate) fn new(total: usize, per_address_max: usize, hash: SeededHash) -> ConnectionBudget {
        let addresses = Mutex::new(HashMap::with_hasher(hash));
        ConnectionBudget { total: SharedBudget::new(total), per_address_max, addresses }
    }

    /// Takes room for a connection of `peer`. Returns the address that was counted, if there is a cap for
    /// each, or the limit that the connection would be over.
    pub(crate) fn try_take(&self, peer: Option<IpAddr>) -> Result<Option<IpAddr>, ConnLimit> {
        if !self.total.try_take(1) {
            return Err(ConnLimit::Node);
        }
        self.try_count(peer).inspect_err(|_| self.total.release(1))
    }

    /// Counts the address of a connection that has room. Returns the address that was counted, if there is a
    /// cap for each.
    pub(crate) fn try_count(&self, peer: Option<IpAddr>) -> Result<Option<IpAddr>, ConnLimit> {
        match peer.map(address_of).filter(|_| self.per_address_max > 0) {
            Some(peer) if !self.take_address(peer) => Err(ConnLimit::Address),
            counted => Ok(counted),
        }
    }

    /// Gives room back, and the address that was counted with it.
    pub(crate) fn release(&self, counted: Option<IpAddr>) {
        self.total.release(1);
        if let Some(peer) = counted {
            self.release_address(peer);
        }
    }

    /// Gives back an address that was counted.
    pub(crate) fn release_address(&self, counted: IpAddr) {
        let mut addresses = self.addresses();
        if let Some(held) = addresses.get_mut(&counted) {
            *held -= 1;
            if *held == 0 {
                addresses.remove(&counted);
            }
        }
    }

    /// Counts a connection of `peer`, an [`address_of`]. Returns false if the address is at its cap.
    pub fn take_address(&self, peer: IpAddr) -> bool {
        let mut addresses = self.addresses();
        let held = addresses.entry(peer).or_insert(0);
        if *held >= self.per_address_max {
            return false;
        }
        *held += 1;
        true
    }

    /// Returns the number of connections now.
    pub fn taken(&self) -> usize {
        self.total.taken()
    }

    /// Returns the most connections that there can be.
    pub(crate) fn limit(&self) -> usize {
        self.total.limit()
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize, SeededHash>> {
        self.addresses.lock().expect("a panic ends the process")
    }
}

/// Returns the part of a peer's address that is counted as one: an IPv4 address, even if mapped into IPv6, or
/// a /64 of IPv6, which one host commonly has all to itself (RFC 4291 §2.5.4).
pub(crate) fn address_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(peer) => IpAddr::V4(peer),
        IpAddr::V6(peer) => IpAddr::V6(Ipv6Addr::from_bits(peer.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_at_its_cap_leaves_room_to_others_and_gets_its_own_back() {
        let budget = ConnectionBudget::new(3, 2, SeededHash::new(1));
        let [near, far] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|address| Some(IpAddr::from(address)));
        let taken = [near, near, near, far, far].map(|peer| budget.try_take(peer));
        let (full, over) = (Err(ConnLimit::Address), Err(ConnLimit::Node));
        assert_eq!(taken, [Ok(near), Ok(near), full, Ok(far), over]);
        budget.release(near);
        assert_eq!((budget.try_take(near), budget.try_take(None), budget.taken()), (Ok(near), over, 3));
    }

    #[test]
    fn a_network_of_ipv6_and_an_address_of_ipv4_count_as_one() {
        let rows = [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::1", "::"),
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ];
        for (peer, counted) in rows {
            let [peer, counted] = [peer, counted].map(|text| text.parse::<IpAddr>().expect("an address"));
            assert_eq!(address_of(peer), counted);
        }
    }
}
