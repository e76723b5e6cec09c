//! Addresses of clients that a proxy has named, by slot.
//!
//! A PROXY header names the client of a connection, the fields of a request that of a request. Each list
//! grows when its kind of proxy is met, so connections without a proxy take no memory here. Decides nothing
//! about trust.

use crate::base::peers::ClientAddress;

/// The named clients of one worker.
#[derive(Debug, Default)]
pub(super) struct ClientAddresses {
    by_header: Vec<Option<ClientAddress>>,
    by_request: Vec<Option<ClientAddress>>,
}

impl ClientAddresses {
    /// The client that a PROXY header named: the peer to whose request fields apply.
    pub(super) fn by_header(&self, slot: u32) -> Option<ClientAddress> {
        self.by_header.get(slot as usize).copied().flatten()
    }

    /// The client that the connection's last request named.
    pub(super) fn by_request(&self, slot: u32) -> Option<ClientAddress> {
        self.by_request.get(slot as usize).copied().flatten()
    }

    /// The client, as far as it was named: by its last request rather than by a header.
    pub(super) fn named(&self, slot: u32) -> Option<ClientAddress> {
        self.by_request(slot).or_else(|| self.by_header(slot))
    }

    /// Notes the client that a PROXY header names.
    pub(super) fn note_header(&mut self, slot: u32, client: ClientAddress) {
        note(&mut self.by_header, slot, Some(client));
    }

    /// Notes the client that a request names, if it does.
    pub(super) fn note_request(&mut self, slot: u32, client: Option<ClientAddress>) {
        note(&mut self.by_request, slot, client);
    }

    /// Forgets the client of a connection that ends.
    pub(super) fn forget(&mut self, slot: u32) {
        note(&mut self.by_header, slot, None);
        note(&mut self.by_request, slot, None);
    }
}

fn note(list: &mut Vec<Option<ClientAddress>>, slot: u32, client: Option<ClientAddress>) {
    let slot = slot as usize;
    if client.is_some() && list.len() <= slot {
        list.resize(slot + 1, None);
    }
    if let Some(place) = list.get_mut(slot) {
        *place = client;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_own_client_and_the_next_owner_of_the_slot_has_none() {
        let client = |host| ClientAddress::new([10, 0, 0, host].into(), None);
        let mut clients = ClientAddresses::default();
        clients.note_request(7, None);
        assert!(clients.by_request.is_empty(), "nobody was named");
        clients.note_header(3, client(1));
        clients.note_request(3, Some(client(2)));
        assert_eq!((clients.by_header(3), clients.named(3)), (Some(client(1)), Some(client(2))));
        clients.note_request(3, None);
        assert_eq!((clients.named(3), clients.named(2), clients.named(9)), (Some(client(1)), None, None));
        clients.forget(3);
        assert_eq!(clients.named(3), None);
    }
}
