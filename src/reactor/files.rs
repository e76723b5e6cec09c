//! How many connections the file limits allow: raises the soft limit, chooses private or shared file tables,
//! and shares out the files. Tables are chosen before anything is planned with them, since where the system
//! refuses private ones all workers share one limit.

use crate::base::limits::RESERVED_FILES;
use crate::base::listener::ListenerKind;
use crate::base::settings::{FileTables, Settings};
use crate::reactor::error::StartError;
use crate::sys::process::{ResourceLimit, files_limit, set_files_limit, unshare_files};

/// Standard streams, epoll, a ring, and files that `main` had open before: all but wakers and listeners.
const BASE_FILES: u64 = 12;
/// Files that a table holds where the system does not tell its limit: what Linux gives a process at first.
const UNKNOWN_FILES_LIMIT: u64 = 1_024;
/// Where files are few, this part of them is reserved instead of `RESERVED_FILES`.
const RESERVED_PART: u64 = 4;
/// Files of each table for polite refusals, however small the limit.
const REFUSAL_FILES_MIN: u64 = 8;
/// They take no more than this part of a table.
const REFUSAL_PART: u64 = 8;

/// Numbers that this host and the settings allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Threads that serve connections.
    pub workers: usize,
    /// More of them than processors, so that they give way to each other between their turns.
    pub crowded: bool,
    /// Each worker has a file table of its own.
    pub private_tables: bool,
    /// `RLIMIT_NOFILE`, raised as far as allowed.
    pub files: u64,
    /// Sockets at which a worker stops listening and leaves newcomers to the others.
    pub worker_max: usize,
    /// Sockets that a worker may have beyond: refusals, the operator's, a closing listener's queue.
    pub spare: usize,
    /// Connections of the node: the setting, or as many as the files allow when that is 0.
    pub connections_max: usize,
}

/// Raises the soft file limit to the hard one and derives the capacity, beside so many inherited listeners.
///
/// # Errors
/// When `connections_max` is more than the files allow, or the limit leaves no room at all.
pub fn capacity(settings: &Settings, inherited: usize) -> Result<Capacity, StartError> {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let private_tables = choose_tables(settings.fd_tables)?;
    derive_capacity(
        settings,
        inherited,
        HostAllowance { files: raise_files_limit(), processors, private_tables },
    )
}

/// Raises the soft file limit as far as the system allows, and returns it.
fn raise_files_limit() -> u64 {
    let raised = files_limit().and_then(|limit| {
        // Refused (a sandbox, or a hard limit above fs.nr_open): then the soft limit stays as it is.
        let _ = set_files_limit(ResourceLimit { soft: limit.hard, hard: limit.hard });
        files_limit()
    });
    raised.map_or_else(
        |error| {
            log::warn!("event=files_limit_refused files={UNKNOWN_FILES_LIMIT} error=\"{error}\"");
            UNKNOWN_FILES_LIMIT
        },
        |limit| limit.soft,
    )
}

/// Tells whether workers get private file tables. A thread that ends at once tries it, so that this thread's
/// table stays shared with those to come.
fn choose_tables(setting: FileTables) -> Result<bool, StartError> {
    if setting == FileTables::Shared {
        return Ok(false);
    }
    let tried = std::thread::Builder::new().name("probe".to_owned()).spawn(unshare_files);
    let tried = tried.map_err(|os| StartError::Os { call: "clone", os })?;
    match (tried.join().expect("one system call does not panic"), setting) {
        (Ok(()), _) => Ok(true),
        (Err(os), FileTables::Private) => Err(StartError::FileTable(os)),
        (Err(error), _) => {
            // The ordinary thing in a container.
            log::info!("event=file_tables_refused fd_tables=shared error=\"{error}\"");
            Ok(false)
        }
    }
}

/// Facts about the host that bound the capacity.
#[derive(Clone, Copy, Debug)]
struct HostAllowance {
    files: u64,
    processors: usize,
    private_tables: bool,
}

fn derive_capacity(
    settings: &Settings,
    inherited: usize,
    host: HostAllowance,
) -> Result<Capacity, StartError> {
    let HostAllowance { files, processors, private_tables } = host;
    let workers = match settings.workers {
        0 => processors.clamp(1, crate::base::limits::WORKERS_MAX),
        set => set,
    };
    let tables = if private_tables { 1 } else { workers as u64 };
    // Each table holds every worker's waker, the addresses held, and the listeners of one worker or of all.
    let listeners = ListenerKind::ALL.iter().map(|kind| kind.addresses(settings).len()).sum::<usize>();
    let listeners = (listeners + inherited) as u64;
    let fixed = BASE_FILES + workers as u64 + listeners + tables * (listeners + 2);
    // However small the limit, some room is left to refuse politely.
    let reserved =
        if files >= RESERVED_PART * RESERVED_FILES { RESERVED_FILES } else { files / RESERVED_PART };
    let reserved = reserved.max(fixed + tables * (files / REFUSAL_PART).min(REFUSAL_FILES_MIN));
    let possible = files.saturating_sub(reserved) / tables;
    if possible == 0 {
        return Err(StartError::Files { files, needed: fixed + tables });
    }
    let worker_max = usize::try_from(possible).unwrap_or(usize::MAX).min(u32::MAX as usize);
    let all = worker_max.saturating_mul(workers);
    if settings.connections_max > all {
        return Err(StartError::Connections {
            wanted: settings.connections_max,
            possible: all,
            workers,
            files,
            private: private_tables,
        });
    }
    let connections_max = if settings.connections_max == 0 { all } else { settings.connections_max };
    let spare = usize::try_from((reserved - fixed) / tables).unwrap_or(0);
    let crowded = workers > processors;
    Ok(Capacity { workers, crowded, private_tables, files, worker_max, spare, connections_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(
        workers: usize,
        connections_max: usize,
        host: (u64, usize, bool),
    ) -> Result<Capacity, StartError> {
        let settings = Settings { workers, connections_max, ..Settings::default() };
        let (files, processors, private_tables) = host;
        derive_capacity(&settings, 0, HostAllowance { files, processors, private_tables })
    }

    #[test]
    fn private_tables_multiply_the_limit_and_a_shared_one_divides_it() {
        let rows: &[(usize, bool, u64, usize, usize)] = &[
            (8, true, 20_000, 19_680, 157_440),
            (60, true, 20_000, 19_680, 1_180_800),
            (4, false, 20_000, 4_920, 19_680),
            (2, true, 64, 36, 72),
            (8, true, 1_024, 768, 6_144),
        ];
        for &(workers, private, files, worker_max, connections_max) in rows {
            let got = derived(workers, 0, (files, 2, private)).unwrap();
            assert_eq!((got.worker_max, got.connections_max), (worker_max, connections_max), "{files}");
        }
    }

    #[test]
    fn workers_default_to_the_processors() {
        assert_eq!(derived(0, 0, (20_000, 6, true)).unwrap().workers, 6);
        assert_eq!(derived(0, 0, (20_000, 500, true)).unwrap().workers, 64);
    }

    #[test]
    fn more_connections_than_files_is_an_error_that_has_the_numbers() {
        let error = derived(8, 100_000, (1_024, 2, true)).unwrap_err();
        assert!(matches!(
            error,
            StartError::Connections {
                wanted: 100_000,
                possible: 6_144,
                workers: 8,
                files: 1_024,
                private: true
            }
        ));
        assert!(matches!(derived(4, 0, (16, 2, true)), Err(StartError::Files { files: 16, .. })));
    }
}
