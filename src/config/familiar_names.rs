//! Names that other servers give to settings of this one. Nearness of letters does not find them.
//!
//! Owns these names, with an example of a value. Knows no source of settings.

use crate::config::resolved::{flag_name, variable_name};

/// A setting, and how a value of it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FamiliarName {
    setting: &'static str,
    example: &'static str,
}

const LISTEN: FamiliarName = FamiliarName { setting: "listen", example: "127.0.0.1:PORT" };
const WORKERS: FamiliarName = FamiliarName { setting: "workers", example: "N" };
const CONNECTIONS: FamiliarName = FamiliarName { setting: "connections_max", example: "N" };
const DEBUG: FamiliarName = FamiliarName { setting: "log_level", example: "debug" };

/// Finds the setting that a name of another server stands for. Takes hyphens and underscores.
pub(crate) fn setting_of(name: &str) -> Option<FamiliarName> {
    Some(match name.replace('-', "_").as_str() {
        "p" | "port" | "bind" | "host" | "addr" | "address" => LISTEN,
        "threads" | "worker_processes" | "num_workers" => WORKERS,
        "maxconn" | "maxclients" | "max_connections" | "worker_connections" => CONNECTIONS,
        "v" | "verbose" | "debug" => DEBUG,
        "admin" | "admin_port" | "control_port" => FamiliarName { setting: "control", ..LISTEN },
        _ => return None,
    })
}

impl FamiliarName {
    /// Returns the name of the setting here.
    pub(crate) fn setting(self) -> &'static str {
        self.setting
    }

    /// Returns it as a flag with a value.
    pub(crate) fn as_flag(self) -> String {
        format!("{} {}", flag_name(self.setting), self.example)
    }

    /// Returns it as a variable with a value.
    pub(crate) fn as_variable(self) -> String {
        format!("{}={}", variable_name(self.setting), self.example)
    }

    /// Returns it as a line of the file.
    pub(crate) fn as_toml(self) -> String {
        let FamiliarName { setting, example } = self;
        if example == "N" { format!("{setting} = N") } else { format!("{setting} = \"{example}\"") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::settings::find_spec;

    #[test]
    fn a_name_of_another_server_leads_to_a_setting_of_this_one() {
        for name in ["port", "threads", "worker-connections", "verbose", "admin-port"] {
            let familiar = setting_of(name).expect(name);
            assert!(find_spec(familiar.setting).is_some(), "{name}");
            assert!(find_spec(name).is_none(), "{name} is a setting");
        }
        assert_eq!(setting_of("heartbeat"), None);
        assert_eq!(LISTEN.as_flag(), "--listen 127.0.0.1:PORT");
        assert_eq!(LISTEN.as_variable(), "FANWHEEL_LISTEN=127.0.0.1:PORT");
        assert_eq!(CONNECTIONS.as_toml(), "connections_max = N");
    }
}
