//! The load generator: very many subscribers and a publisher that judge any SSE server by its bytes. Shares
//! nothing with the core it measures.
//!
//! | file | owns |
//! | --- | --- |
//! | `plan` | the settings of a run |
//! | `check` | whether this host can hold the run |
//! | `run`, `phases` | the threads and the order of phases; the meaning of each phase's numbers |
//! | `receiver`, `stamp` | subscribers; the text of an event, by which they judge it |
//! | `publisher`, `topic_spread` | events, their pace, their topics |
//! | `refusal` | a server that refuses, and its words |
//! | `in_flight`, `run_state` | state that threads share |
//! | `tally`, `histogram`, `median` | counts, latencies, rounds |
//! | `sample` | processor time and memory |
//! | `report` | the numbers for people and machines |

pub(crate) mod check;
pub mod histogram;
pub(crate) mod in_flight;
pub mod median;
mod phases;
pub(crate) mod plan;
pub(crate) mod publisher;
pub mod receiver;
pub(crate) mod refusal;
pub mod report;
pub(crate) mod run;
pub(crate) mod run_state;
pub(crate) mod sample;
pub(crate) mod stamp;
pub(crate) mod tally;
pub(crate) mod tls;
pub(crate) mod topic_spread;
