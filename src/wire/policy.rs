//! What a listener serves and allows, read from the settings once. Judges no request.

use crate::base::address::ListenAddress;
use crate::base::listener::ListenerKind;
use crate::base::settings::{Settings, UrlProfile};
use crate::wire::cors::Cors;

/// URLs that a listener serves, and its limits.
#[derive(Clone, Debug)]
pub struct ListenerPolicy {
    /// Kind of the listener.
    pub(crate) listener: ListenerKind,
    /// Which URLs the public listener serves; the others always serve the standard ones.
    pub(crate) profile: UrlProfile,
    /// Hosts (without port) that a listener of the operator answers to besides loopback: its bound addresses
    /// and `control_names`. An unspecified address (`0.0.0.0`, `::`) stands for every IP literal.
    pub(crate) own_hosts: Vec<String>,
    /// Publishers are let in: all of them on a control listener, those with credentials on the public one.
    pub(crate) takes_publishers: bool,
    /// There is a control listener, for publishing elsewhere than on the public one.
    pub(crate) has_control: bool,
    /// `GET /` of the public listener says what this is.
    pub(crate) landing: bool,
    /// Topics of one subscriber or publish.
    pub(crate) topics_per_connection_max: usize,
    /// Patterns of one subscriber; 0 where patterns are switched off.
    pub(crate) patterns_per_connection_max: usize,
    /// Bytes of a publish body.
    pub(crate) publish_bytes_max: usize,
    /// Origins that may read answers.
    pub(crate) cors: Cors,
}

impl ListenerPolicy {
    /// Returns the policy under which publishers are let in whose credentials are taken.
    pub(crate) fn with_publishers(self) -> ListenerPolicy {
        ListenerPolicy { takes_publishers: true, ..self }
    }

    /// Returns the policy of one of the listeners under the given settings.
    pub fn from_settings(settings: &Settings, listener: ListenerKind) -> ListenerPolicy {
        let bound = listener.addresses(settings).iter().filter_map(|text| match ListenAddress::parse(text) {
            Some(ListenAddress::Tcp(address)) => Some(address.ip().to_string()),
            Some(ListenAddress::Unix(_)) | None => None,
        });
        ListenerPolicy {
            listener,
            profile: settings.profile,
            own_hosts: bound.chain(settings.control_names.iter().cloned()).collect(),
            takes_publishers: listener == ListenerKind::Control,
            has_control: !settings.control.is_empty(),
            landing: settings.landing && listener == ListenerKind::Public,
            topics_per_connection_max: settings.topics_per_connection_max,
            patterns_per_connection_max: match settings.patterns {
                true => settings.patterns_per_connection_max,
                false => 0,
            },
            publish_bytes_max: settings.publish_bytes_max,
            cors: match listener {
                ListenerKind::Public => Cors::from_setting(&settings.cors_origins),
                ListenerKind::Control | ListenerKind::Metrics => Cors::Off,
            },
        }
    }
}
