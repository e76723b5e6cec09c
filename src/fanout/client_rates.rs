//! Rates of clients on the public listener: connections, requests and events of an address, and events of the
//! owner of a credential. Each is off unless its setting says how many.
//!
//! Knows no connection.

use std::net::IpAddr;

use super::conn::ConnLimit;
use super::connection_budget::address_of;
use super::hash::SeededHash;
use super::rate_table::RateTable;
use crate::base::counters::RefusalReason;
use crate::base::settings::Settings;
use crate::base::time::Now;
use crate::wire::auth::access::CredentialOwner;

/// All rates of a node.
#[derive(Debug)]
pub(crate) struct ClientRates {
    connects: Option<RateTable>,
    requests: Option<RateTable>,
    publishes: Option<RateTable>,
    of_tokens: Option<RateTable>,
}

impl ClientRates {
    /// The rates of these settings. Clients choose addresses, so their tables have a keyed `hash`.
    pub(crate) fn new(settings: &Settings, hash: &SeededHash) -> ClientRates {
        let rates = settings.rates;
        let table = |per_second| RateTable::new(per_second, hash.clone());
        ClientRates {
            connects: table(rates.address_connects_per_second),
            requests: table(rates.address_requests_per_second),
            publishes: table(rates.address_publishes_per_second),
            of_tokens: table(rates.token_publishes_per_second),
        }
    }

    /// Whether requests count.
    pub(crate) fn counts_requests(&self) -> bool {
        self.requests.is_some()
    }

    /// Whether events that are published count.
    pub(crate) fn counts_publishes(&self) -> bool {
        self.publishes.is_some() || self.of_tokens.is_some()
    }

    /// Counts a new connection of a client. Returns the limit that it is over.
    pub(crate) fn refuse_connect(&self, client: IpAddr, now: Now) -> Option<ConnLimit> {
        let taken = try_take(self.connects.as_ref(), Some(&address_of(client)), now);
        (!taken).then_some(ConnLimit::ConnectRate)
    }

    /// Counts a request of a client. Returns the reason to refuse it.
    pub(crate) fn refuse_request(&self, client: IpAddr, now: Now) -> Option<RefusalReason> {
        let taken = try_take(self.requests.as_ref(), Some(&address_of(client)), now);
        (!taken).then_some(RefusalReason::AddressRequests)
    }

    /// Counts an event that a client is about to publish. Returns the reason to refuse it.
    pub(crate) fn refuse_publish(
        &self,
        client: Option<IpAddr>,
        publisher: &CredentialOwner,
        now: Now,
    ) -> Option<RefusalReason> {
        if !try_take(self.publishes.as_ref(), client.map(address_of).as_ref(), now) {
            return Some(RefusalReason::AddressPublishes);
        }
        let taken = try_take(self.of_tokens.as_ref(), Some(&publisher.rate_key()), now);
        (!taken).then_some(RefusalReason::TokenPublishes)
    }

    /// Counts further events that came with it.
    pub(crate) fn charge_publish(
        &self,
        client: Option<IpAddr>,
        publisher: &CredentialOwner,
        events: u64,
        now: Now,
    ) {
        if let (Some(rates), Some(client)) = (&self.publishes, client.map(address_of)) {
            rates.charge(&client, events, now.mono_us);
        }
        if let Some(rates) = &self.of_tokens {
            rates.charge(&publisher.rate_key(), events, now.mono_us);
        }
    }
}

/// Takes a unit of a key's rate. There is none without a limit, or for a client without an address.
fn try_take(rates: Option<&RateTable>, key: Option<&impl std::hash::Hash>, now: Now) -> bool {
    match (rates, key) {
        (Some(rates), Some(key)) => rates.try_take(key, now.mono_us),
        (Some(_), None) | (None, _) => true,
    }
}
