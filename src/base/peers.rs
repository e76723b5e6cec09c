//! Addresses of clients, and of the peers that may tell them: proxies of the operator.
//!
//! Knows neither headers nor sockets.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The word that stands for peers of Unix listeners, which have no address.
const UNIX_PEERS: &str = "unix:";

/// Address of a client. A proxy may tell it without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// Its address; one of IPv4 is never mapped into IPv6.
    pub ip: IpAddr,
    /// Its port, if it is known.
    pub port: Option<u16>,
}

impl ClientAddress {
    /// An address, if it is mapped into IPv6, as the one that is meant.
    pub(crate) fn new(ip: IpAddr, port: Option<u16>) -> ClientAddress {
        ClientAddress { ip: ip.to_canonical(), port }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// Peers that are believed when they name a client: the setting `trusted_proxies`.
#[derive(Clone, Debug, Default)]
pub struct TrustedPeers {
    networks: Box<[IpNet]>,
    unix: bool,
}

impl TrustedPeers {
    /// Reads the items of the setting.
    ///
    /// # Errors
    /// The item that is none.
    pub fn parse(items: &[String]) -> Result<TrustedPeers, &str> {
        let mut trusted = TrustedPeers::default();
        let mut networks = Vec::new();
        for item in items {
            match parse_network(item) {
                _ if item == UNIX_PEERS => trusted.unix = true,
                Some(network) => networks.push(network),
                None => return Err(item),
            }
        }
        trusted.networks = networks.into();
        Ok(trusted)
    }

    /// Whether nobody is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether a peer is trusted; one of a Unix listener has no address.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(peer) => {
                let peer = peer.to_canonical();
                self.networks.iter().any(|network| network.contains(&peer))
            }
            None => self.unix,
        }
    }
}

/// Reads an address, or a network as `ADDR/BITS`.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    // Peers are compared as what they mean, so a mapped network would never be met.
    (network.addr().to_canonical() == network.addr()).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_trusted_by_address_by_network_and_by_their_kind() {
        let items = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "unix:"].map(str::to_owned);
        let trusted = TrustedPeers::parse(&items).expect("all are well-formed");
        let rows = [
            ("10.255.0.1", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
        ];
        for (peer, expected) in rows {
            assert_eq!(trusted.contains(Some(peer.parse().expect("an address"))), expected, "{peer}");
        }
        assert!(
            trusted.contains(None) && !TrustedPeers::parse(&items[..3]).expect("well-formed").contains(None)
        );
        let nobody = TrustedPeers::default();
        assert!(nobody.is_empty() && !nobody.contains(None) && !trusted.is_empty());
    }

    #[test]
    fn an_item_that_is_no_address_and_no_network_is_named() {
        for bad in
            ["10.0.0", "10.0.0.0/33", "proxy.example", "*", "10.0.0.1:80", "::ffff:10.0.0.0/104", "unix"]
        {
            let items = ["127.0.0.1".to_owned(), bad.to_owned()];
            assert_eq!(TrustedPeers::parse(&items).err(), Some(bad));
        }
    }

    #[test]
    fn an_address_is_written_with_its_port_if_it_is_known() {
        let rows = [
            ("::ffff:10.0.0.1", Some(7), "10.0.0.1:7"),
            ("2001:db8::1", Some(7), "[2001:db8::1]:7"),
            ("2001:db8::1", None, "2001:db8::1"),
        ];
        for (ip, port, expected) in rows {
            let address = ClientAddress::new(ip.parse().expect("an address"), port);
            assert_eq!(address.to_string(), expected);
        }
    }
}
