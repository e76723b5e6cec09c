//! Samples of usage: processor time and memory of the measured processes, the load's own processor time, the
//! kernel's memory.

use std::time::Instant;

use crate::host::processes::{self, ProcessUsage};
use crate::load::plan::LoadPlan;

/// The usage at one moment.
#[derive(Clone, Copy)]
pub(crate) struct UsageSample {
    at: Instant,
    /// The usage of the measured processes.
    pub(crate) usage: ProcessUsage,
    own_cpu_ns: u64,
    kernel_bytes: u64,
}

/// The usage between two samples.
#[derive(Clone, Copy)]
pub(crate) struct UsageSpan {
    /// The time between the samples.
    pub(crate) seconds: f64,
    /// Processor time of the measured processes, in microseconds; `None` when none is measured.
    pub(crate) cpu_us: Option<f64>,
    /// Growth of their resident memory, in bytes.
    pub(crate) resident_bytes: Option<f64>,
    /// Growth of the kernel's memory, slabs and TCP buffers, in bytes.
    pub(crate) kernel_bytes: f64,
    /// The load's own share of the processors that it may use, in per cent.
    pub(crate) client_percent: f64,
}

impl UsageSample {
    /// Takes a sample now.
    pub(crate) fn take(plan: &LoadPlan) -> UsageSample {
        UsageSample {
            at: Instant::now(),
            usage: processes::read_usage(&plan.pids),
            own_cpu_ns: processes::cpu_ns(std::process::id()),
            kernel_bytes: processes::slab_bytes() + processes::tcp_memory_bytes(),
        }
    }

    /// Returns the usage between an earlier sample and this one.
    pub(crate) fn since(&self, before: &UsageSample) -> UsageSpan {
        let measured = before.usage.processes > 0;
        let grown = |now: u64, then: u64| now as f64 - then as f64;
        let seconds = (self.at - before.at).as_secs_f64();
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        UsageSpan {
            seconds,
            cpu_us: measured.then(|| grown(self.usage.cpu_ns, before.usage.cpu_ns) / 1_000.0),
            resident_bytes: measured.then(|| grown(self.usage.resident_bytes, before.usage.resident_bytes)),
            kernel_bytes: grown(self.kernel_bytes, before.kernel_bytes),
            client_percent: grown(self.own_cpu_ns, before.own_cpu_ns) / (seconds * processors) / 1e7,
        }
    }
}
