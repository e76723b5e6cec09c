//! The load generator: very many subscribers and a publisher that judge any SSE server by its bytes. Shares
//! nothing with the core it measures.
//!
//! | file | owns |
//! | --- | --- |
//! | `plan` | what to do |
//! | `check` | whether this host can |
//! | `run`, `phases` | the order of things; what each part's numbers mean |
//! | `receiver`, `stamp` | subscribers, what they read, what they hold it against |
//! | `publisher`, `topic_spread` | events, their pace, their topics |
//! | `flight`, `board` | what threads share |
//! | `tally`, `histogram`, `median` | counts, latencies, rounds |
//! | `sample` | processor time and memory |
//! | `report` | the numbers for people and machines |

pub mod check;
pub mod histogram;
pub mod in_flight;
pub mod median;
mod phases;
pub mod plan;
pub mod publisher;
pub mod receiver;
pub mod report;
pub mod run;
pub mod run_state;
pub mod sample;
pub mod stamp;
pub mod tally;
pub mod topic_spread;
