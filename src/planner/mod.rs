//! The capacity planner: the needs of a number of connections, the resource that ends first, the nodes.
//!
//! Takes a [`PlanRequest`], the [`MeasuredConstants`] and the settings that cost something; returns numbers.
//! Reads no host. It reckons with plain HTTP over IPv4 and Ethernet; a proxy's bytes are left out.

pub mod constants;
pub(crate) mod page;

use serde::Serialize;

use crate::base::id::{EventId, IdTag};
use crate::base::limits::{KIB, RESERVED_FILES, RETRY_JITTER_PERCENT, WORKERS_MAX};
use crate::base::settings::Settings;
use crate::wire::frame::Draft;
use crate::wire::frame::FrameForm;
use crate::wire::reply::heartbeat;
use constants::MeasuredConstants;

/// Bytes of data in one TCP segment over Ethernet: 1 500 less the headers, with timestamps.
const TCP_SEGMENT_BYTES: usize = 1_500 - TCP_IP_BYTES;
/// Bytes of headers of a TCP segment over IPv4, with timestamps (RFC 9293, RFC 7323, RFC 791).
const TCP_IP_BYTES: usize = 20 + 20 + 12;
/// Bytes that Ethernet adds to each packet: header, check sum, preamble, gap (IEEE 802.3).
const ETHERNET_BYTES: usize = 14 + 4 + 8 + 12;
/// Bytes of a publish beside its payload, as usual clients and proxies send it.
const PUBLISH_HEAD_BYTES: usize = 300;
/// Ports of one address from which a proxy on a tuned host can connect to one server: 10 240 to 65 535.
const PLANNED_PORTS_PER_ADDRESS: u64 = 65_536 - 10_240;
/// A moment of the year 2027. Ids of these years are as long, but for the number behind the hyphen.
const SAMPLE_EVENT_MS: u64 = 1_800_000_000_000;
/// Share of the processors that returning clients always get, so that their return ends.
const RETURN_SHARE_MIN: f64 = 0.05;

/// The id of an event on a server that is not busy: the first of its millisecond, with one of the tags of
/// three digits, as most are.
fn sample_id() -> EventId {
    EventId::start_of_run(SAMPLE_EVENT_MS, IdTag::from_random(500))
}

/// The resources of one node.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeHardware {
    /// Bytes of installed memory.
    pub ram_bytes: u64,
    /// Processors, as fast as the one of the constants.
    pub cores: u64,
    /// Bits a second of the network card, each way.
    pub nic_bits_per_s: u64,
    /// Files of one table (`LimitNOFILE`).
    pub files: u64,
}

/// The load to be served, and the node to serve it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlanRequest {
    /// Connections on all nodes.
    pub connections: u64,
    /// Events that each of them receives in a second.
    pub events_per_second: f64,
    /// Bytes of an event's data.
    pub bytes: u64,
    /// Number of topics, each subscriber on one; the events published are a multiple of it.
    pub topics: u64,
    /// Share of the connections that read nothing, so that the kernel buffers for them all it may.
    pub slow_percent: f64,
    /// Round-trip time to a client.
    pub rtt_ms: f64,
    /// Share of a node's memory, processors and network that stays free.
    pub headroom_percent: f64,
    /// The hardware of each node.
    pub machine: NodeHardware,
}

/// A resource of a node that may end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub(crate) enum NodeResource {
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
    pub(crate) process_bytes: f64,
    /// Events kept for clients that return.
    pub(crate) history_bytes: f64,
    /// The kernel's sockets, files and places in epoll.
    pub(crate) kernel_bytes: f64,
    /// The kernel's buffers of frames in flight, on average.
    pub(crate) in_flight_bytes: f64,
    /// The kernel's buffers for clients that read nothing.
    pub(crate) slow_bytes: f64,
    /// The sum of all parts.
    pub(crate) bytes: f64,
    /// Growth of the kernel's memory that `fanwheel load` on the same host sees, for both ends.
    pub kernel_both_ends_bytes: f64,
}

/// Processor time of one node, in per cent of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NodeProcessor {
    /// Deliveries of events.
    pub(crate) deliveries_percent: f64,
    /// Publishes of events.
    pub(crate) publishes_percent: f64,
    /// Heartbeats, and the idle time of the process.
    pub(crate) heartbeats_percent: f64,
    /// The sum of all parts.
    pub percent: f64,
    /// Milliseconds until the last subscriber of a topic has an event, without other work.
    pub(crate) to_last_ms: f64,
}

/// Network of one node, in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct NodeNetwork {
    /// Events out, with framing, TCP, IP and Ethernet.
    pub(crate) deliveries_bits_per_s: f64,
    /// Heartbeats out, with the same overhead.
    pub(crate) heartbeats_bits_per_s: f64,
    /// Acknowledgements and publishes in.
    pub(crate) in_bits_per_s: f64,
    /// Packets a second, both ways.
    pub(crate) packets_per_s: f64,
}

/// Bytes in flight to one subscriber. The kernel keeps them until they are acknowledged, a round trip later.
/// Beyond its bound the subscriber falls behind, however fast it reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct InFlightWindow {
    /// Bytes in flight on average.
    pub(crate) bytes: f64,
    /// Bytes that may be in flight: twice `unsent_bytes_max`, as the kernel reckons.
    pub(crate) bytes_max: f64,
}

/// Files and ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NodeFiles {
    /// Files in all tables.
    pub(crate) files: u64,
    /// Workers with tables of their own, one for each processor.
    pub(crate) workers: u64,
    /// `LimitNOFILE`, with room for uneven spreading.
    pub(crate) limit_nofile: u64,
    /// Addresses that a proxy needs to connect from, or that the node needs.
    pub(crate) proxy_addresses: u64,
}

/// The return of all clients after the loss of a node, or after the restart of the only one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct NodeLoss {
    /// Connections that come back.
    pub(crate) connections: u64,
    /// Seconds until all are back.
    pub(crate) seconds: f64,
    /// Whether the other nodes can hold them, without headroom. True for a restart.
    pub(crate) others_suffice: bool,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CapacityPlan {
    /// The request that it answers.
    #[serde(rename = "ask")]
    pub(crate) request: PlanRequest,
    pub(crate) nodes: u64,
    /// Connections of each node.
    pub(crate) connections_per_node: u64,
    /// The most that a node holds beside its headroom.
    pub(crate) connections_per_node_max: u64,
    /// The resource that bounds it.
    pub(crate) bound_by: NodeResource,
    /// The most connections by each resource.
    pub(crate) connections_max_by: Vec<(NodeResource, u64)>,
    /// Memory that a node needs.
    pub memory: NodeMemory,
    /// Processor time that a node needs.
    pub processor: NodeProcessor,
    /// Network that a node needs.
    pub(crate) network: NodeNetwork,
    /// Bytes in flight to one subscriber.
    #[serde(rename = "way")]
    pub(crate) in_flight: InFlightWindow,
    /// Files and ports that a node needs.
    pub(crate) files: NodeFiles,
    /// The return after the loss of a node.
    pub(crate) loss: NodeLoss,
}

/// The reason that there is no plan: even one connection needs more of a resource than a node has. Numbers
/// are in its unit: bytes, per cent of a processor, bits a second, files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeTooSmall {
    /// The resource that is too small.
    pub(crate) resource: NodeResource,
    /// The need of one connection.
    pub(crate) needed: f64,
    /// The amount beside the headroom.
    pub(crate) free: f64,
}

/// Connections in the table of sizes, each with its plan.
pub(crate) const SIZES: [u64; 9] =
    [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000];

/// Room in file tables for connections that are spread unevenly, and for files that are no connections.
const TABLE_SHARE: f64 = 0.9;
/// Bytes that the kernel reckons for each byte of a send buffer: its own overhead is as much again.
const KERNEL_BUFFER_FACTOR: f64 = 2.0;
/// Segments that one acknowledgement covers (RFC 9293 §3.8.6.3).
const SEGMENTS_PER_ACK: f64 = 2.0;
const BITS_PER_BYTE: f64 = 8.0;
const MS_PER_S: f64 = 1_000.0;
const US_PER_MS: f64 = 1_000.0;
const US_PER_S: f64 = 1e6;
/// Microseconds of processor time in a second that are one per cent of a processor.
const US_PER_PERCENT: f64 = 10_000.0;

/// Bytes and packets of one send, with all headers, and of its acknowledgements.
struct WireCost {
    out_bytes: f64,
    back_bytes: f64,
    packets: f64,
}

impl WireCost {
    fn of(bytes: usize) -> WireCost {
        let segments = bytes.div_ceil(TCP_SEGMENT_BYTES) as f64;
        // A lone segment is acknowledged by itself, of several every second one (RFC 9293 §3.8.6.3).
        let acknowledgements = (segments / SEGMENTS_PER_ACK).ceil();
        let overhead = (TCP_IP_BYTES + ETHERNET_BYTES) as f64;
        WireCost {
            out_bytes: bytes as f64 + segments * overhead,
            back_bytes: acknowledgements * overhead,
            packets: segments + acknowledgements,
        }
    }
}

/// Plans for one size of events; settings and constants are the same for every number of connections.
#[derive(Debug)]
pub struct CapacityPlanner<'a> {
    constants: &'a MeasuredConstants,
    settings: &'a Settings,
    /// Bytes of one event on the wire to a subscriber.
    frame_bytes: usize,
    /// Bytes of memory of one kept event.
    kept_bytes: usize,
}

impl<'a> CapacityPlanner<'a> {
    /// Creates a planner for events with `bytes` bytes of data, in one line.
    pub fn new(constants: &'a MeasuredConstants, settings: &'a Settings, bytes: u64) -> CapacityPlanner<'a> {
        let data = "x".repeat(usize::try_from(bytes).expect("64-bit hosts only"));
        let frame = Draft::new(None, None, &data, None).seal(sample_id());
        let (frame_bytes, kept_bytes) = (frame.chunked().len(), frame.memory_bytes());
        CapacityPlanner { constants, settings, frame_bytes, kept_bytes }
    }

    /// Makes the plan for a request.
    ///
    /// # Errors
    /// When a node holds not even one connection.
    pub fn plan(&self, request: PlanRequest) -> Result<CapacityPlan, NodeTooSmall> {
        let max_by = self.connections_max_by(&request, request.headroom_percent)?;
        let (bound_by, max) = tightest(&max_by);
        let nodes = request.connections.div_ceil(max);
        let connections = request.connections.div_ceil(nodes);
        Ok(CapacityPlan {
            request,
            nodes,
            connections_per_node: connections,
            connections_per_node_max: max,
            bound_by,
            memory: self.memory(&request, connections as f64),
            processor: self.processor(&request, connections as f64),
            network: self.network(&request, connections as f64),
            in_flight: self.in_flight(&request),
            files: files_needed(&request, connections),
            loss: self.loss(&request, nodes, connections)?,
            connections_max_by: max_by,
        })
    }

    /// Returns the most connections of a node by each resource.
    fn connections_max_by(
        &self,
        request: &PlanRequest,
        headroom_percent: f64,
    ) -> Result<Vec<(NodeResource, u64)>, NodeTooSmall> {
        let NodeHardware { ram_bytes, nic_bits_per_s, files, .. } = request.machine;
        let free = |all: f64| all * (1.0 - headroom_percent / 100.0);
        let network = |connections: f64| {
            let network = self.network(request, connections);
            network.out_bits_per_s().max(network.in_bits_per_s)
        };
        let per_table = (files as f64 * TABLE_SHARE) as u64;
        let files_max = worker_count(request) * per_table.saturating_sub(RESERVED_FILES);
        if files_max == 0 {
            let needed = (RESERVED_FILES as f64 + 1.0) / TABLE_SHARE;
            return Err(NodeTooSmall { resource: NodeResource::Files, needed, free: files as f64 });
        }
        Ok(vec![
            search_max(NodeResource::Memory, free(ram_bytes as f64), |c| self.memory(request, c).bytes)?,
            search_max(NodeResource::Processor, free(worker_count(request) as f64 * 100.0), |c| {
                self.processor(request, c).percent
            })?,
            search_max(NodeResource::Network, free(nic_bits_per_s as f64), network)?,
            (NodeResource::Files, files_max),
        ])
    }

    /// Returns the memory of a node with `connections` of them. It has its share of the topics, at least one,
    /// and receives all events of its topics.
    fn memory(&self, request: &PlanRequest, connections: f64) -> NodeMemory {
        let MeasuredConstants { memory, kernel, .. } = self.constants;
        let topics = topics_per_node(request, connections);
        let history_bytes = self.history_bytes(request, topics);
        let in_flight = self.in_flight(request);
        let in_flight_each = request.events_per_second * request.rtt_ms / MS_PER_S
            * (kernel.frame_bytes + self.frame_bytes as f64);
        let mut sum = NodeMemory {
            connections_bytes: connections * memory.connection_bytes + topics * memory.topic_bytes,
            process_bytes: memory.process_bytes,
            history_bytes,
            kernel_bytes: connections * kernel.connection_bytes,
            in_flight_bytes: connections * in_flight_each.min(in_flight.bytes_max),
            slow_bytes: connections * request.slow_percent / 100.0 * in_flight.bytes_max,
            bytes: 0.0,
            kernel_both_ends_bytes: connections * kernel.both_ends_bytes,
        };
        sum.bytes = sum.server_bytes() + sum.kernel_bytes + sum.in_flight_bytes + sum.slow_bytes;
        sum
    }

    fn in_flight(&self, request: &PlanRequest) -> InFlightWindow {
        InFlightWindow {
            bytes: request.events_per_second * request.rtt_ms / MS_PER_S * self.frame_bytes as f64,
            bytes_max: KERNEL_BUFFER_FACTOR * self.settings.unsent_bytes_max as f64,
        }
    }

    /// Returns the bytes of kept events within the bounds of history.
    fn history_bytes(&self, request: &PlanRequest, topics: f64) -> f64 {
        let Settings { history_ms, history_events, .. } = *self.settings;
        let each = self.kept_bytes as f64;
        let by_age = request.events_per_second * history_ms as f64 / MS_PER_S;
        let of_topic = by_age.min(history_events as f64) * each;
        let of_topic = of_topic.min(self.settings.history_topic_bytes_max as f64);
        (topics * of_topic).min(self.settings.history_bytes_max as f64)
    }

    /// Returns the heartbeats of a connection in a second: none while events come more often.
    fn heartbeats_per_second(&self, request: &PlanRequest) -> f64 {
        (MS_PER_S / self.settings.heartbeat_ms as f64 - request.events_per_second).max(0.0)
    }

    fn delivery_us(&self) -> f64 {
        let processor = &self.constants.processor;
        processor.delivery_us + processor.delivery_kib_us * self.frame_bytes as f64 / KIB as f64
    }

    fn processor(&self, request: &PlanRequest, connections: f64) -> NodeProcessor {
        let processor = &self.constants.processor;
        let deliveries = connections * request.events_per_second * self.delivery_us();
        let publishes =
            topics_per_node(request, connections) * request.events_per_second * processor.publish_us;
        let heartbeats = connections * self.heartbeats_per_second(request) * processor.heartbeat_us;
        let pulse = processor.idle_us_per_s;
        let of_topic = connections / topics_per_node(request, connections);
        NodeProcessor {
            deliveries_percent: deliveries / US_PER_PERCENT,
            publishes_percent: publishes / US_PER_PERCENT,
            heartbeats_percent: (heartbeats + pulse) / US_PER_PERCENT,
            percent: (deliveries + publishes + heartbeats + pulse) / US_PER_PERCENT,
            to_last_ms: of_topic * self.delivery_us() / US_PER_MS / worker_count(request) as f64,
        }
    }

    fn network(&self, request: &PlanRequest, connections: f64) -> NodeNetwork {
        let (event, heartbeat) =
            (WireCost::of(self.frame_bytes), WireCost::of(heartbeat(FrameForm::Chunk).len()));
        let publish = WireCost::of(request.bytes as usize + PUBLISH_HEAD_BYTES);
        let events = connections * request.events_per_second;
        let heartbeats = connections * self.heartbeats_per_second(request);
        let publishes = topics_per_node(request, connections) * request.events_per_second;
        let back = events * event.back_bytes + heartbeats * heartbeat.back_bytes;
        NodeNetwork {
            deliveries_bits_per_s: BITS_PER_BYTE
                * (events * event.out_bytes + publishes * publish.back_bytes),
            heartbeats_bits_per_s: BITS_PER_BYTE * heartbeats * heartbeat.out_bytes,
            in_bits_per_s: BITS_PER_BYTE * (back + publishes * publish.out_bytes),
            packets_per_s: events * event.packets
                + heartbeats * heartbeat.packets
                + publishes * publish.packets,
        }
    }

    fn loss(&self, request: &PlanRequest, nodes: u64, connections: u64) -> Result<NodeLoss, NodeTooSmall> {
        // After a restart all clients return to the same node.
        let others = nodes.saturating_sub(1).max(1);
        let busy = self.processor(request, connections as f64).percent / 100.0;
        let cores = worker_count(request) as f64;
        let spare = (cores - busy).max(RETURN_SHARE_MIN * cores);
        let each_s = self.constants.processor.resume_us / US_PER_S;
        let by_processor_s = connections as f64 / others as f64 * each_s / spare;
        let retry_percent = (100 + RETRY_JITTER_PERCENT) as f64;
        let retry_s = self.settings.retry_ms as f64 * retry_percent / 100.0 / MS_PER_S;
        let (_, most) = tightest(&self.connections_max_by(request, 0.0)?);
        let left = request.connections.div_ceil(others);
        Ok(NodeLoss {
            connections,
            seconds: retry_s.max(by_processor_s),
            others_suffice: nodes == 1 || left <= most,
        })
    }
}

impl NodeMemory {
    /// Returns the resident bytes of the server.
    pub(crate) fn server_bytes(&self) -> f64 {
        self.connections_bytes + self.process_bytes + self.history_bytes
    }
}

impl NodeNetwork {
    /// Returns all bits that go out in a second.
    pub(crate) fn out_bits_per_s(&self) -> f64 {
        self.deliveries_bits_per_s + self.heartbeats_bits_per_s
    }
}

/// Returns the number of workers: one for each processor, up to the bound.
fn worker_count(request: &PlanRequest) -> u64 {
    request.machine.cores.clamp(1, WORKERS_MAX as u64)
}

/// Returns the topics on a node with this many connections: its subscribers may be on any topics.
fn topics_per_node(request: &PlanRequest, connections: f64) -> f64 {
    (request.topics as f64).min(connections).max(1.0)
}

fn files_needed(request: &PlanRequest, connections: u64) -> NodeFiles {
    let workers = worker_count(request);
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

/// Searches the most connections whose need, which grows with them, does not exceed the free amount.
fn search_max(
    resource: NodeResource,
    free: f64,
    need: impl Fn(f64) -> f64,
) -> Result<(NodeResource, u64), NodeTooSmall> {
    /// Connections beyond the sockets that a node could have.
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
