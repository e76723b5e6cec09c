//! How many connections the file limits allow: raises the soft limit and shares out the files.

use crate::base::limits::RESERVED_FILES;
use crate::base::settings::Settings;
use crate::reactor::error::StartError;
use crate::sys::process::{ResourceLimit, files_limit, set_files_limit};

/// Standard streams, epoll, a ring, and files that `main` had open before: all but wakers and listeners.
const BASE_FILES: u64 = 12;
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
    let limit = files_limit().map_err(|os| StartError::Os { call: "getrlimit", os })?;
    if limit.soft < limit.hard {
        // Refused (a sandbox, or a hard limit above fs.nr_open): then the soft limit stays as it is.
        let _ = set_files_limit(ResourceLimit { soft: limit.hard, hard: limit.hard });
    }
    let files = files_limit().map_err(|os| StartError::Os { call: "getrlimit", os })?.soft;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    derive_capacity(settings, inherited, files, processors)
}

fn derive_capacity(
    settings: &Settings,
    inherited: usize,
    files: u64,
    processors: usize,
) -> Result<Capacity, StartError> {
    let workers = match settings.workers {
        0 => processors.clamp(1, crate::base::limits::WORKERS_MAX),
        set => set,
    };
    let tables = if settings.fd_tables_private { 1 } else { workers as u64 };
    // Each table holds every worker's waker, the addresses held, and the listeners of one worker or of all.
    let listeners = (settings.listen.len() + 1 + inherited) as u64;
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
            private: settings.fd_tables_private,
        });
    }
    let connections_max = if settings.connections_max == 0 { all } else { settings.connections_max };
    let spare = usize::try_from((reserved - fixed) / tables).unwrap_or(0);
    Ok(Capacity { workers, crowded: workers > processors, files, worker_max, spare, connections_max })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(workers: usize, private: bool, connections_max: usize) -> Settings {
        Settings { workers, fd_tables_private: private, connections_max, ..Settings::default() }
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
            let got = derive_capacity(&settings(workers, private, 0), 0, files, 2).unwrap();
            assert_eq!((got.worker_max, got.connections_max), (worker_max, connections_max), "{files}");
        }
    }

    #[test]
    fn workers_default_to_the_processors() {
        assert_eq!(derive_capacity(&settings(0, true, 0), 0, 20_000, 6).unwrap().workers, 6);
        assert_eq!(derive_capacity(&settings(0, true, 0), 0, 20_000, 500).unwrap().workers, 64);
    }

    #[test]
    fn more_connections_than_files_is_an_error_that_has_the_numbers() {
        let error = derive_capacity(&settings(8, true, 100_000), 0, 1_024, 2).unwrap_err();
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
        assert!(matches!(
            derive_capacity(&settings(4, true, 0), 0, 16, 2),
            Err(StartError::Files { files: 16, .. })
        ));
    }
}
