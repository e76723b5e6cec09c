//! Facts of manual pages that the grammar does not hold: exit codes, environment, files, other pages.
//!
//! Owns these words. The form of a page belongs to the generator of pages.

/// A term and its meaning.
#[derive(Clone, Copy, Debug)]
pub struct ManualRow {
    /// An exit code, a variable, a path or the name of a page.
    pub term: &'static str,
    /// Its meaning; empty for the name of a page.
    pub meaning: &'static str,
}

/// A section of a page.
#[derive(Clone, Debug)]
pub struct ManualSection {
    /// Its heading in capitals.
    pub title: &'static str,
    /// Its rows in their order.
    pub rows: Vec<ManualRow>,
}

const fn row(term: &'static str, meaning: &'static str) -> ManualRow {
    ManualRow { term, meaning }
}

const WRONG_USE: ManualRow = row("2", "The command line or a setting is wrong; one line says which.");
const DONE: ManualRow = row("0", "Done.");
const NOT_DONE: ManualRow = row("1", "It could not be done; one line says why.");

const CONFIG_VARIABLES: [ManualRow; 2] = [
    row("FANWHEEL_CONFIG", "The configuration file; the flag --config is stronger."),
    row(
        "FANWHEEL_*",
        "Each setting has a variable, such as FANWHEEL_HEARTBEAT_MS. It is stronger than the file and weaker \
         than the flag.",
    ),
];
const TOKEN_FILE: ManualRow =
    row("FANWHEEL_TOKEN_FILE", "A file with the token to send; the flag --token-file is stronger.");
const CERTIFICATES: ManualRow =
    row("SSL_CERT_FILE", "The trusted certificates for https://; without it those of the system.");

/// Returns the sections of a subcommand's page, or of the program's for an empty name.
pub fn sections_of(subcommand: &str) -> Vec<ManualSection> {
    let sections = [
        ManualSection { title: "EXIT STATUS", rows: exit_codes(subcommand) },
        ManualSection { title: "ENVIRONMENT", rows: variables(subcommand) },
        ManualSection { title: "FILES", rows: files(subcommand) },
        ManualSection { title: "SEE ALSO", rows: other_pages(subcommand) },
    ];
    sections.into_iter().filter(|section| !section.rows.is_empty()).collect()
}

fn exit_codes(subcommand: &str) -> Vec<ManualRow> {
    match subcommand {
        "serve" => vec![
            row("0", "A clean end: every stream was ended within drain_ms."),
            row("1", "The start failed: an address in use, no permission, too few files."),
            WRONG_USE,
            row("130, 143", "A second SIGINT or SIGTERM cut the drain short."),
        ],
        "load" => vec![
            row("0", "Everything arrived once and in order."),
            row("1", "It did not, or the run could not be done; the report says why."),
            WRONG_USE,
        ],
        "doctor" => vec![
            row("0", "Nothing is bad."),
            row("1", "Something is, or the address of --url does not answer."),
            WRONG_USE,
        ],
        _ => vec![DONE, NOT_DONE, WRONG_USE],
    }
}

fn variables(subcommand: &str) -> Vec<ManualRow> {
    let mut rows = match subcommand {
        "" | "serve" | "config" | "plan" | "token" => CONFIG_VARIABLES.to_vec(),
        "publish" | "subscribe" | "doctor" => vec![TOKEN_FILE, CERTIFICATES],
        "load" => vec![TOKEN_FILE],
        _ => Vec::new(),
    };
    if subcommand == "serve" {
        rows.extend([
            row("LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "Listening sockets from systemd."),
            row("NOTIFY_SOCKET, WATCHDOG_USEC", "Readiness, and the watchdog of systemd."),
        ]);
    }
    rows
}

fn files(subcommand: &str) -> Vec<ManualRow> {
    const CONFIGURATION: ManualRow = row(
        "/etc/fanwheel.toml",
        "Settings of the installed service: every setting at its default, commented out.",
    );
    match subcommand {
        "" | "serve" => vec![
            CONFIGURATION,
            row("/run/fanwheel", "Socket files of the installed service."),
            row("/var/log/fanwheel", "Log files of the installed service, where log_file names one."),
        ],
        "config" | "plan" | "token" => vec![CONFIGURATION],
        "doctor" => vec![row("/proc, /sys", "Facts about this host. Nothing is written.")],
        _ => Vec::new(),
    }
}

fn other_pages(subcommand: &str) -> Vec<ManualRow> {
    let names: &[&str] = match subcommand {
        "" => &[
            "fanwheel-serve(1)",
            "fanwheel-publish(1)",
            "fanwheel-subscribe(1)",
            "fanwheel-config(1)",
            "fanwheel-doctor(1)",
            "fanwheel-plan(1)",
            "fanwheel-load(1)",
            "fanwheel-token(1)",
        ],
        "serve" => &["fanwheel(1)", "fanwheel-config(1)", "fanwheel-doctor(1)", "systemd.service(5)"],
        "publish" => &["fanwheel(1)", "fanwheel-subscribe(1)", "curl(1)"],
        "subscribe" => &["fanwheel(1)", "fanwheel-publish(1)", "curl(1)"],
        "config" => &["fanwheel(1)", "fanwheel-serve(1)", "fanwheel-token(1)"],
        "token" => &["fanwheel(1)", "fanwheel-config(1)"],
        "doctor" => &["fanwheel(1)", "fanwheel-plan(1)", "sysctl(8)", "prlimit(1)"],
        "plan" => &["fanwheel(1)", "fanwheel-doctor(1)", "fanwheel-load(1)"],
        _ => &["fanwheel(1)", "fanwheel-plan(1)"],
    };
    names.iter().map(|name| row(name, "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::command;

    #[test]
    fn pages_name_only_pages_that_exist() {
        let grammar = command();
        let subcommands: Vec<&str> = grammar.get_subcommands().map(|command| command.get_name()).collect();
        for subcommand in std::iter::once("").chain(subcommands.iter().copied()) {
            let sections = sections_of(subcommand);
            for title in ["EXIT STATUS", "SEE ALSO"] {
                assert!(sections.iter().any(|section| section.title == title), "{subcommand}: {title}");
            }
            let rows = sections.iter().flat_map(|section| &section.rows).map(|row| row.term);
            for name in rows.filter_map(|term| term.strip_prefix("fanwheel-")?.strip_suffix("(1)")) {
                assert!(subcommands.contains(&name), "{subcommand} names {name}");
            }
        }
        let own = sections_of("").into_iter().find(|section| section.title == "SEE ALSO");
        assert_eq!(own.expect("there").rows.len(), subcommands.len(), "the program's page names them all");
    }
}
