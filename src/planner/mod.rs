//! The capacity planner: what so many connections need of a node, which resource ends first, how many nodes.
//!
//! Takes a [`PlanRequest`], the [`MeasuredConstants`] and the settings that cost something; returns numbers.
//! Reads no host. It reckons with plain HTTP over IPv4 and Ethernet; a proxy's bytes are left out.

pub mod constants;
pub mod page;

use serde::Serialize;

use crate::base::id::EventId;
use crate::base::limits::{RESERVED_FILES, RETRY_JITTER_PERCENT, WORKERS_MAX};
use crate::base::settings::Settings;
use crate::wire::frame::Draft;
use crate::wire::reply::HEARTBEAT_CHUNKED;
use constants::MeasuredConstants;

/// Bytes of data in one TCP segment over Ethernet: 1 500 less the headers, with timestamps.
const TCP_SEGMENT_BYTES: usize = 1_500 - TCP_IP_BYTES;
/// Bytes of headers of a TCP segment over IPv4, with timestamps (RFC 9293, RFC 7323, RFC 791).
const TCP_IP_BYTES: usize = 20 + 20 + 12;
/// Bytes that Ethernet adds to each packet: header, check sum, preamble, gap (IEEE 802.3).
const ETHERNET_BYTES: usize = 14 + 4 + 8 + 12;
/// Bytes of a publish beside its payload, as usual clients and proxies send it.
const PUBLISH_HEAD_BYTES: usize = 300;
/// Ports of one address that a proxy on a tuned host can connect to one server from: 10 240 to 65 535.
const PLANNED_PORTS_PER_ADDRESS: u64 = 65_536 - 10_240;
/// A moment of the year 2027: ids of our time are as long as its.
const SAMPLE_EVENT_MS: u64 = 1_800_000_000_000;
/// Share of the processors that those who come back always get, so that their return takes no endless time.
const RETURN_SHARE_MIN: f64 = 0.05;

/// What one node has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeHardware {
    /// Bytes of memory.
    pub ram_bytes: u64,
    /// Processors, as fast as the one of the constants.
    pub cores: u64,
    /// Bits a second of the network card, each way.
    pub nic_bits_per_s: u64,
    /// Files of one table (`LimitNOFILE`).
    pub files: u64,
}

/// What is to be served, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlanRequest {
    /// Connections in all.
    pub connections: u64,
    /// Events that each of them receives in a second.
    pub events_per_second: f64,
    /// Bytes of an event's data.
    pub bytes: u64,
    /// Topics, each subscriber on one; so this many times as many events are published.
    pub topics: u64,
    /// Share of the connections that take nothing, so that the kernel holds for them what it may.
    pub slow_percent: f64,
    /// Time to a client and back.
    pub rtt_ms: f64,
    /// Share of a node's memory, processors and network that stays free.
    pub headroom_percent: f64,
    /// One node.
    pub machine: NodeHardware,
}

/// What ends first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum NodeResource {
    Memory,
    Processor,
    Network,
    Files,
}

/// Memory of one node, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeMemory {
    /// Resident bytes that connections and their topics add to the server.
    pub connections_bytes: f64,
    /// The server without connections.
    pub process_bytes: f64,
    /// Events kept for those that come back.
    pub history_bytes: f64,
    /// The kernel's: sockets, files, places in epoll.
    pub kernel_bytes: f64,
    /// The kernel's for frames that are on their way, on average.
    pub in_flight_bytes: f64,
    /// The kernel's for those that take nothing.
    pub slow_bytes: f64,
    /// The sum.
    pub bytes: f64,
    /// What `fanwheel load` on the same host sees the kernel's grow by, for both ends.
    pub kernel_both_ends_bytes: f64,
}

/// Processor time of one node, in per cent of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeProcessor {
    /// Deliveries.
    pub deliveries_percent: f64,
    /// Publishes.
    pub publishes_percent: f64,
    /// Heartbeats, with the process's own pulse.
    pub heartbeats_percent: f64,
    /// The sum.
    pub percent: f64,
    /// Until the last of a topic's subscribers has an event, in milliseconds, if nothing else is to be done.
    pub to_last_ms: f64,
}

/// Network of one node, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeNetwork {
    /// Events out, with framing, TCP, IP and Ethernet.
    pub deliveries_bits_per_s: f64,
    /// Heartbeats out.
    pub heartbeats_bits_per_s: f64,
    /// Acknowledgements and publishes in.
    pub in_bits_per_s: f64,
    /// Packets a second, both ways.
    pub packets_per_s: f64,
}

/// The way to one subscriber. What is sent is the kernel's to keep until it is acknowledged, a round trip
/// later; with more than it may keep the subscriber falls behind, however fast it reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InFlightWindow {
    /// Bytes under way on average.
    pub bytes: f64,
    /// Bytes that may be: twice `unsent_bytes_max`, as the kernel takes it.
    pub bytes_max: f64,
}

/// Files and ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NodeFiles {
    /// Files in all tables.
    pub files: u64,
    /// Workers with tables of their own, one for each processor.
    pub workers: u64,
    /// `LimitNOFILE`, with room for uneven spreading.
    pub limit_nofile: u64,
    /// Addresses that a proxy needs to connect to the node from, or that the node needs.
    pub proxy_addresses: u64,
}

/// After the loss of a node, or the restart of the only one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeLoss {
    /// Connections that come back.
    pub connections: u64,
    /// Until all are back.
    pub seconds: f64,
    /// Whether those that are left can hold them, without headroom. True for a restart.
    pub others_suffice: bool,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapacityPlan {
    /// What was asked.
    pub ask: PlanRequest,
    /// Nodes.
    pub nodes: u64,
    /// Connections of each.
    pub connections_per_node: u64,
    /// The most that a node holds beside its headroom.
    pub connections_per_node_max: u64,
    /// What that is bounded by.
    pub bound_by: NodeResource,
    /// The most by each resource.
    pub connections_max_by: Vec<(NodeResource, u64)>,
    /// A node's memory.
    pub memory: NodeMemory,
    /// A node's processor time.
    pub processor: NodeProcessor,
    /// A node's network.
    pub network: NodeNetwork,
    /// The way to one subscriber.
    #[serde(rename = "way")]
    pub in_flight: InFlightWindow,
    /// A node's files and ports.
    pub files: NodeFiles,
    /// Losing a node.
    pub loss: NodeLoss,
}

/// Why there is no plan: even one connection needs more than a node has of this resource, in its unit (bytes,
/// per cent of a processor, bits a second, files).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeTooSmall {
    /// What there is too little of.
    pub resource: NodeResource,
    /// What one connection needs.
    pub needed: f64,
    /// What there is beside the headroom.
    pub free: f64,
}

/// Connections in the table of sizes, each with its plan.
pub const SIZES: [u64; 9] =
    [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// Room in file tables for connections that are spread unevenly, and for files that are no connections.
const TABLE_SHARE: f64 = 0.9;
const MICROSECONDS_PER_PERCENT: f64 = 10_000.0;

/// What goes over the wire for one sending of so many bytes, and what comes back.
struct WireCost {
    out_bytes: f64,
    back_bytes: f64,
    packets: f64,
}

impl WireCost {
    fn of(bytes: usize) -> WireCost {
        let segments = bytes.div_ceil(TCP_SEGMENT_BYTES) as f64;
        // A lone segment is acknowledged by itself, of several every second one (RFC 9293 §3.8.6.3).
        let acknowledgements = (segments / 2.0).ceil();
        let overhead = (TCP_IP_BYTES + ETHERNET_BYTES) as f64;
        WireCost {
            out_bytes: bytes as f64 + segments * overhead,
            back_bytes: acknowledgements * overhead,
            packets: segments + acknowledgements,
        }
    }
}

/// Reckons for one ask. All that the settings and the constants say is the same for every number of
/// connections.
#[derive(Debug)]
pub struct CapacityPlanner<'a> {
    constants: &'a MeasuredConstants,
    settings: &'a Settings,
    /// Bytes of one event as a subscriber gets it.
    frame_bytes: usize,
    /// Bytes of memory of one that is kept.
    kept_bytes: usize,
}

impl<'a> CapacityPlanner<'a> {
    /// For events of `bytes` bytes of data, in one line.
    pub fn new(constants: &'a MeasuredConstants, settings: &'a Settings, bytes: u64) -> CapacityPlanner<'a> {
        let data = "x".repeat(usize::try_from(bytes).expect("64-bit hosts only"));
        let frame = Draft::new(None, None, &data, None).seal(EventId::at_ms(SAMPLE_EVENT_MS));
        let (frame_bytes, kept_bytes) = (frame.chunked().len(), frame.memory_bytes());
        CapacityPlanner { constants, settings, frame_bytes, kept_bytes }
    }

    /// The plan.
    ///
    /// # Errors
    /// When a node holds not even one connection.
    pub fn plan(&self, ask: PlanRequest) -> Result<CapacityPlan, NodeTooSmall> {
        let max_by = self.connections_max_by(&ask, ask.headroom_percent)?;
        let (bound_by, max) = tightest(&max_by);
        let nodes = ask.connections.div_ceil(max);
        let connections = ask.connections.div_ceil(nodes);
        Ok(CapacityPlan {
            ask,
            nodes,
            connections_per_node: connections,
            connections_per_node_max: max,
            bound_by,
            memory: self.memory(&ask, connections as f64),
            processor: self.processor(&ask, connections as f64),
            network: self.network(&ask, connections as f64),
            in_flight: self.in_flight(&ask),
            files: files_needed(&ask, connections),
            loss: self.loss(&ask, nodes, connections)?,
            connections_max_by: max_by,
        })
    }

    /// The most connections of a node by each resource.
    fn connections_max_by(
        &self,
        ask: &PlanRequest,
        headroom_percent: f64,
    ) -> Result<Vec<(NodeResource, u64)>, NodeTooSmall> {
        let NodeHardware { ram_bytes, nic_bits_per_s, files, .. } = ask.machine;
        let free = |all: f64| all * (1.0 - headroom_percent / 100.0);
        let network = |connections: f64| {
            let network = self.network(ask, connections);
            network.out_bits_per_s().max(network.in_bits_per_s)
        };
        let per_table = (files as f64 * TABLE_SHARE) as u64;
        let files_max = worker_count(ask) * per_table.saturating_sub(RESERVED_FILES);
        if files_max == 0 {
            let needed = (RESERVED_FILES as f64 + 1.0) / TABLE_SHARE;
            return Err(NodeTooSmall { resource: NodeResource::Files, needed, free: files as f64 });
        }
        Ok(vec![
            search_max(NodeResource::Memory, free(ram_bytes as f64), |c| self.memory(ask, c).bytes)?,
            search_max(NodeResource::Processor, free(worker_count(ask) as f64 * 100.0), |c| {
                self.processor(ask, c).percent
            })?,
            search_max(NodeResource::Network, free(nic_bits_per_s as f64), network)?,
            (NodeResource::Files, files_max),
        ])
    }

    /// A node with `connections` of them. Its share of topics is that of the connections, but with one topic
    /// for all it is that one; events of a node's topics are all published to it.
    fn memory(&self, ask: &PlanRequest, connections: f64) -> NodeMemory {
        let MeasuredConstants { memory, kernel, .. } = self.constants;
        let topics = topics_per_node(ask, connections);
        let history_bytes = self.history_bytes(ask, topics);
        let in_flight = self.in_flight(ask);
        let in_flight_each =
            ask.events_per_second * ask.rtt_ms / 1_000.0 * (kernel.frame_bytes + self.frame_bytes as f64);
        let mut sum = NodeMemory {
            connections_bytes: connections * memory.connection_bytes + topics * memory.topic_bytes,
            process_bytes: memory.process_bytes,
            history_bytes,
            kernel_bytes: connections * kernel.connection_bytes,
            in_flight_bytes: connections * in_flight_each.min(in_flight.bytes_max),
            slow_bytes: connections * ask.slow_percent / 100.0 * in_flight.bytes_max,
            bytes: 0.0,
            kernel_both_ends_bytes: connections * kernel.both_ends_bytes,
        };
        sum.bytes = sum.server_bytes() + sum.kernel_bytes + sum.in_flight_bytes + sum.slow_bytes;
        sum
    }

    fn in_flight(&self, ask: &PlanRequest) -> InFlightWindow {
        InFlightWindow {
            bytes: ask.events_per_second * ask.rtt_ms / 1_000.0 * self.frame_bytes as f64,
            bytes_max: 2.0 * self.settings.unsent_bytes_max as f64,
        }
    }

    /// Bytes of the kept events, as the bounds of history leave them.
    fn history_bytes(&self, ask: &PlanRequest, topics: f64) -> f64 {
        let Settings { history_ms, history_events, .. } = *self.settings;
        let each = self.kept_bytes as f64;
        let by_age = ask.events_per_second * history_ms as f64 / 1_000.0;
        let of_topic = by_age.min(history_events as f64) * each;
        let of_topic = of_topic.min(self.settings.history_topic_bytes_max as f64);
        (topics * of_topic).min(self.settings.history_bytes_max as f64)
    }

    /// Heartbeats that a connection gets in a second: none while events come more often.
    fn heartbeats_per_second(&self, ask: &PlanRequest) -> f64 {
        (1_000.0 / self.settings.heartbeat_ms as f64 - ask.events_per_second).max(0.0)
    }

    fn delivery_us(&self) -> f64 {
        let processor = &self.constants.processor;
        processor.delivery_us + processor.delivery_kib_us * self.frame_bytes as f64 / 1_024.0
    }

    fn processor(&self, ask: &PlanRequest, connections: f64) -> NodeProcessor {
        let processor = &self.constants.processor;
        let deliveries = connections * ask.events_per_second * self.delivery_us();
        let publishes = topics_per_node(ask, connections) * ask.events_per_second * processor.publish_us;
        let heartbeats = connections * self.heartbeats_per_second(ask) * processor.heartbeat_us;
        let pulse = processor.idle_us_per_s;
        let of_topic = connections / topics_per_node(ask, connections);
        NodeProcessor {
            deliveries_percent: deliveries / MICROSECONDS_PER_PERCENT,
            publishes_percent: publishes / MICROSECONDS_PER_PERCENT,
            heartbeats_percent: (heartbeats + pulse) / MICROSECONDS_PER_PERCENT,
            percent: (deliveries + publishes + heartbeats + pulse) / MICROSECONDS_PER_PERCENT,
            to_last_ms: of_topic * self.delivery_us() / 1_000.0 / worker_count(ask) as f64,
        }
    }

    fn network(&self, ask: &PlanRequest, connections: f64) -> NodeNetwork {
        let (event, heartbeat) = (WireCost::of(self.frame_bytes), WireCost::of(HEARTBEAT_CHUNKED.len()));
        let publish = WireCost::of(ask.bytes as usize + PUBLISH_HEAD_BYTES);
        let events = connections * ask.events_per_second;
        let heartbeats = connections * self.heartbeats_per_second(ask);
        let publishes = topics_per_node(ask, connections) * ask.events_per_second;
        let back = events * event.back_bytes + heartbeats * heartbeat.back_bytes;
        NodeNetwork {
            deliveries_bits_per_s: 8.0 * (events * event.out_bytes + publishes * publish.back_bytes),
            heartbeats_bits_per_s: 8.0 * heartbeats * heartbeat.out_bytes,
            in_bits_per_s: 8.0 * (back + publishes * publish.out_bytes),
            packets_per_s: events * event.packets
                + heartbeats * heartbeat.packets
                + publishes * publish.packets,
        }
    }

    fn loss(&self, ask: &PlanRequest, nodes: u64, connections: u64) -> Result<NodeLoss, NodeTooSmall> {
        // A restart gets everyone back on the same node.
        let others = nodes.saturating_sub(1).max(1);
        let busy = self.processor(ask, connections as f64).percent / 100.0;
        let cores = worker_count(ask) as f64;
        let spare = (cores - busy).max(RETURN_SHARE_MIN * cores);
        let each_s = self.constants.processor.resume_us / 1e6;
        let by_processor_s = connections as f64 / others as f64 * each_s / spare;
        let retry_percent = (100 + RETRY_JITTER_PERCENT) as f64;
        let retry_s = self.settings.retry_ms as f64 * retry_percent / 100.0 / 1_000.0;
        let (_, most) = tightest(&self.connections_max_by(ask, 0.0)?);
        let left = ask.connections.div_ceil(others);
        Ok(NodeLoss {
            connections,
            seconds: retry_s.max(by_processor_s),
            others_suffice: nodes == 1 || left <= most,
        })
    }
}

impl NodeMemory {
    /// What is resident in the server.
    pub fn server_bytes(&self) -> f64 {
        self.connections_bytes + self.process_bytes + self.history_bytes
    }
}

impl NodeNetwork {
    /// All that goes out.
    pub fn out_bits_per_s(&self) -> f64 {
        self.deliveries_bits_per_s + self.heartbeats_bits_per_s
    }
}

/// One for each processor, and no processor works without one.
fn worker_count(ask: &PlanRequest) -> u64 {
    ask.machine.cores.clamp(1, WORKERS_MAX as u64)
}

/// Topics on a node with so many of the connections: its subscribers may be on any of them.
fn topics_per_node(ask: &PlanRequest, connections: f64) -> f64 {
    (ask.topics as f64).min(connections).max(1.0)
}

fn files_needed(ask: &PlanRequest, connections: u64) -> NodeFiles {
    let workers = worker_count(ask);
    let in_table = connections.div_ceil(workers) + RESERVED_FILES;
    NodeFiles {
        files: connections + workers * RESERVED_FILES,
        workers,
        limit_nofile: (in_table as f64 / TABLE_SHARE).ceil() as u64,
        proxy_addresses: connections.div_ceil(PLANNED_PORTS_PER_ADDRESS),
    }
}

fn tightest(max_by: &[(NodeResource, u64)]) -> (NodeResource, u64) {
    *max_by.iter().min_by_key(|(_, max)| *max).expect("there are four resources")
}

/// The most connections whose need, which grows with them, is no more than what is free.
fn search_max(
    resource: NodeResource,
    free: f64,
    need: impl Fn(f64) -> f64,
) -> Result<(NodeResource, u64), NodeTooSmall> {
    /// More than a node could have sockets for.
    const CEILING: u64 = u32::MAX as u64;
    if need(1.0) > free {
        return Err(NodeTooSmall { resource, needed: need(1.0), free });
    }
    let (mut fits, mut too_many) = (1, CEILING);
    while fits + 1 < too_many {
        let middle = fits + (too_many - fits) / 2;
        *(if need(middle as f64) <= free { &mut fits } else { &mut too_many }) = middle;
    }
    Ok((resource, fits))
}

#[cfg(test)]
mod tests;
