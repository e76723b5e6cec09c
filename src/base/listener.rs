//! Kinds of listeners: their names, and the settings with their addresses. Knows no sockets.

use crate::base::settings::Settings;

/// Kind of the listener that a connection came through, in the order of addresses in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ListenerKind {
    /// Reachable by anyone: subscribe and health.
    Public,
    /// Reachable by the operator: everything.
    Control,
    /// Reachable by monitoring: health and metrics, nothing that changes anything.
    Metrics,
}

impl ListenerKind {
    /// All kinds, in their order.
    pub(crate) const ALL: [ListenerKind; 3] =
        [ListenerKind::Public, ListenerKind::Control, ListenerKind::Metrics];

    /// Its name on pages, in queries and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ListenerKind::Public => "public",
            ListenerKind::Control => "control",
            ListenerKind::Metrics => "metrics",
        }
    }

    /// Returns the name of the setting with its addresses.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            ListenerKind::Public => "listen",
            ListenerKind::Control => "control",
            ListenerKind::Metrics => "metrics_listen",
        }
    }

    /// Returns the addresses that the settings give it.
    pub(crate) fn addresses(self, settings: &Settings) -> &[String] {
        match self {
            ListenerKind::Public => &settings.listen,
            ListenerKind::Control => &settings.control,
            ListenerKind::Metrics => &settings.metrics_listen,
        }
    }

    /// Gives the same list to be changed.
    pub(crate) fn addresses_mut(self, settings: &mut Settings) -> &mut Vec<String> {
        match self {
            ListenerKind::Public => &mut settings.listen,
            ListenerKind::Control => &mut settings.control,
            ListenerKind::Metrics => &mut settings.metrics_listen,
        }
    }

    /// Tells whether it answers the operator's people and programs, so without limits on connections.
    pub(crate) fn is_operators(self) -> bool {
        self != ListenerKind::Public
    }
}
