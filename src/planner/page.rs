//! A plan as text for people: the answer, the needs of each node, the table of sizes.

use std::fmt::Write;

use super::constants::MeasuredConstants;
use super::{CapacityPlan, InFlightWindow, NodeResource, NodeTooSmall};
use crate::base::number_text::{byte_unit, short_number};

/// Columns of the labels of rows.
const LABEL_COLUMNS: usize = 27;

/// Writes the whole page. `sizes` are plans of the same request for other numbers of connections.
pub(crate) fn page(plan: &CapacityPlan, sizes: &[CapacityPlan], constants: &MeasuredConstants) -> String {
    let mut out = String::new();
    let mut row = |what: &str, value: String| {
        let line = format!("{what:<LABEL_COLUMNS$} {value}");
        writeln!(out, "{}", line.trim_end()).expect("writing to a String cannot fail");
    };
    write_answer(plan, &mut row);
    write_node_needs(plan, &mut row);
    write_network_needs(plan, &mut row);
    let origin = &constants.origin;
    format!(
        "{out}\n{}\n\
         Measured on {}, Linux {}, {}, commit {}, by `{}`,\n\
         both ends on one machine: the receiving half of TCP is charged to the sender. Other processors\n\
         differ; `make bench` measures yours into benches/record/constants.toml, which --constants takes.\n",
        sizes_table(sizes),
        origin.machine,
        origin.kernel,
        origin.date,
        origin.commit,
        origin.command,
    )
}

fn write_answer(plan: &CapacityPlan, row: &mut impl FnMut(&str, String)) {
    let request = &plan.request;
    let machine = &request.machine;
    row("connections", group_digits(request.connections));
    let topics =
        if request.topics == 1 { "one topic".to_owned() } else { format!("{} topics", request.topics) };
    row("events", format!("{} a second to each, {} B, {topics}", request.events_per_second, request.bytes));
    let (ram, nic) = (bytes_text(machine.ram_bytes as f64), bits_text(machine.nic_bits_per_s as f64));
    row("a node", format!("{ram}, {} cores, {nic}; {} % stay free", machine.cores, request.headroom_percent));
    let workers = plan.files.workers;
    if workers < machine.cores {
        row("  note", format!("a server has {workers} workers at most, so it uses no more cores than that"));
    }
    row("", String::new());
    let (max, bound) = (group_digits(plan.connections_per_node_max), resource_name(plan.bound_by));
    row("nodes", plan.nodes.to_string());
    if plan.nodes > 1 {
        // One line: it must stand beside the number that it limits.
        row("  note", "nodes know nothing of each other: publish each event to all".to_owned());
    }
    row("  a node holds", format!("{max} connections; {bound} binds first"));
    let others = plan.connections_max_by.iter().filter(|(resource, _)| *resource != plan.bound_by);
    let others: Vec<String> = others
        .map(|(resource, max)| format!("{} {}", resource_name(*resource), group_digits(*max)))
        .collect();
    row("  the others allow", others.join(", "));
    let loss = &plan.loss;
    let what = if plan.nodes == 1 { "restart, all back in" } else { "node lost, all back in" };
    row(&format!("  {what}"), format!("{} s", short_number(loss.seconds)));
    if !loss.others_suffice {
        let more = "the others cannot hold a lost node's clients: plan one more";
        row("  note", more.to_owned());
    }
}

fn write_node_needs(plan: &CapacityPlan, row: &mut impl FnMut(&str, String)) {
    let (memory, processor) = (&plan.memory, &plan.processor);
    row("", String::new());
    row("each node", format!("{} connections", group_digits(plan.connections_per_node)));
    let ram = plan.request.machine.ram_bytes as f64;
    row(
        "memory",
        format!("{} of {} ({})", bytes_text(memory.bytes), bytes_text(ram), percent_text(memory.bytes, ram)),
    );
    let added = [memory.process_bytes, memory.connections_bytes, memory.history_bytes].map(bytes_text);
    let [process, connections, history] = added;
    let all = bytes_text(memory.server_bytes());
    row("  server", format!("{all}: process {process}, connections {connections}, history {history}"));
    row("  kernel, idle sockets", bytes_text(memory.kernel_bytes));
    row("  kernel, frames under way", bytes_text(memory.in_flight_bytes));
    row("  kernel, slow clients", bytes_text(memory.slow_bytes));
    let cores = plan.files.workers as f64 * 100.0;
    row(
        "processor",
        format!(
            "{} % of one core ({})",
            short_number(processor.percent),
            percent_text(processor.percent, cores)
        ),
    );
    let shares = [processor.deliveries_percent, processor.publishes_percent, processor.heartbeats_percent];
    let [deliveries, publishes, heartbeats] = shares.map(short_number);
    row(
        "  of which",
        format!("deliveries {deliveries} %, publishes {publishes} %, heartbeats {heartbeats} %"),
    );
    row("  to the last subscriber", format!("{} ms", short_number(processor.to_last_ms)));
}

fn write_network_needs(plan: &CapacityPlan, row: &mut impl FnMut(&str, String)) {
    let (network, files) = (&plan.network, &plan.files);
    let nic = plan.request.machine.nic_bits_per_s as f64;
    let out = network.out_bits_per_s();
    row("network, out", format!("{} ({}), headers included", bits_text(out), percent_text(out, nic)));
    row("  of which heartbeats", bits_text(network.heartbeats_bits_per_s));
    row("network, in", format!("{} of acknowledgements and publishes", bits_text(network.in_bits_per_s)));
    let InFlightWindow { bytes: in_flight, bytes_max } = plan.in_flight;
    if in_flight > bytes_max {
        let (needed, kept) = (bytes_text(in_flight), bytes_text(bytes_max));
        let wanted = (in_flight / 2.0).ceil();
        row(
            "  note",
            format!("{needed} are on the way to each client, the kernel keeps {kept}: it falls behind"),
        );
        row("", format!("unless unsent_bytes_max is {wanted} or more"));
    }
    row("packets", format!("{} a second", group_digits(network.packets_per_s.ceil() as u64)));
    row(
        "files",
        format!(
            "{}; LimitNOFILE={}, {} workers",
            group_digits(files.files),
            files.limit_nofile,
            files.workers
        ),
    );
    row("ports", format!("one; behind a proxy it connects from {} addresses", files.proxy_addresses));
}

/// Writes one line for each number of connections.
fn sizes_table(sizes: &[CapacityPlan]) -> String {
    let mut out = format!(
        "{:>12}  {:>10}  {:>10}  {:>9}  {:>12}  {:>5}  {}\n",
        "connections", "server", "kernel", "cores", "network", "nodes", "binds first"
    );
    for plan in sizes {
        let nodes = plan.nodes as f64;
        let kernel = plan.memory.bytes - plan.memory.server_bytes();
        writeln!(
            out,
            "{:>12}  {:>10}  {:>10}  {:>9.2}  {:>12}  {:>5}  {}",
            group_digits(plan.request.connections),
            bytes_text(nodes * plan.memory.server_bytes()),
            bytes_text(nodes * kernel),
            nodes * plan.processor.percent / 100.0,
            bits_text(nodes * plan.network.out_bits_per_s()),
            plan.nodes,
            resource_name(plan.bound_by),
        )
        .expect("writing to a String cannot fail");
    }
    out
}

/// Writes one line for a node that is too small for one connection.
pub(crate) fn too_small(fault: &NodeTooSmall) -> String {
    let NodeTooSmall { resource, needed, free } = *fault;
    let (what, needed, free, way) = match resource {
        NodeResource::Memory => ("memory", bytes_text(needed), bytes_text(free), "raise --nodes-ram"),
        NodeResource::Processor => {
            let cores = |percent: f64| format!("{} cores", short_number(percent / 100.0));
            ("processors", cores(needed), cores(free), "raise --cores, or lower --events-per-second")
        }
        NodeResource::Network => {
            ("network", bits_text(needed), bits_text(free), "raise --nic, or lower --events-per-second")
        }
        NodeResource::Files => {
            let files = |count: f64| format!("{} files", count.ceil());
            ("files", files(needed), files(free), "raise --files")
        }
    };
    format!("a node holds not one connection: {what} for one {needed}, free {free}; {way}")
}

fn resource_name(resource: NodeResource) -> &'static str {
    match resource {
        NodeResource::Memory => "memory",
        NodeResource::Processor => "processor",
        NodeResource::Network => "network",
        NodeResource::Files => "files",
    }
}

fn percent_text(part: f64, whole: f64) -> String {
    format!("{} %", short_number(100.0 * part / whole))
}

fn bytes_text(value: f64) -> String {
    let unit = byte_unit(value);
    format!("{} {}", short_number(value / unit.bytes as f64), unit.symbol)
}

fn bits_text(value: f64) -> String {
    let (size, unit) = match value {
        value if value >= 1e9 => (value / 1e9, "Gbit/s"),
        value if value >= 1e6 => (value / 1e6, "Mbit/s"),
        value => (value / 1e3, "kbit/s"),
    };
    format!("{} {unit}", short_number(size))
}

/// Writes a number in groups of three digits: `1 000 000`.
fn group_digits(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}
