//! Facts about plans: numbers computed by hand, and their own bounds.

use super::*;

const GIB: u64 = 1 << 30;

fn constants() -> MeasuredConstants {
    let mut constants = MeasuredConstants::recorded();
    constants.memory.process_bytes = 4e6;
    constants.memory.connection_bytes = 100.0;
    constants.memory.topic_bytes = 1_000.0;
    constants.kernel.connection_bytes = 4_000.0;
    constants.kernel.both_ends_bytes = 8_000.0;
    constants.kernel.frame_bytes = 1_000.0;
    constants.processor.delivery_us = 5.0;
    constants.processor.delivery_kib_us = 1.0;
    constants.processor.publish_us = 10.0;
    constants.processor.heartbeat_us = 10.0;
    constants.processor.resume_us = 25.0;
    constants.processor.idle_us_per_s = 2_000.0;
    constants
}

const MACHINE: NodeHardware =
    NodeHardware { ram_bytes: 16 * GIB, cores: 8, nic_bits_per_s: 10_000_000_000, files: 1_048_576 };
const ASK: PlanRequest = PlanRequest {
    connections: 100_000,
    events_per_second: 2.0,
    bytes: 300,
    topics: 1,
    slow_percent: 1.0,
    rtt_ms: 100.0,
    headroom_percent: 30.0,
    machine: MACHINE,
};

fn plan_with(request: PlanRequest, settings: &Settings) -> CapacityPlan {
    CapacityPlanner::new(&constants(), settings, request.bytes).plan(request).expect("a node that holds some")
}

fn plan(request: PlanRequest) -> CapacityPlan {
    plan_with(request, &Settings::default())
}

fn assert_near(got: f64, expected: f64) {
    assert!((got - expected).abs() <= expected.abs() / 1e6, "{got} is not {expected}");
}

#[test]
fn needs_are_what_the_constants_say() {
    let plan = plan(ASK);
    assert_eq!((plan.nodes, plan.connections_per_node), (1, 100_000));
    let memory = plan.memory;
    assert_near(memory.connections_bytes, 100_000.0 * 100.0 + 1_000.0);
    assert_near(memory.kernel_bytes, 100_000.0 * 4_000.0);
    assert_near(memory.kernel_both_ends_bytes, 100_000.0 * 8_000.0);
    assert_near(memory.slow_bytes, 1_000.0 * 2.0 * 16_384.0);
    // "158\r\n", "id: 1800000000000-501\n", "data: " + 300 + "\n", "\n", "\r\n".
    let frame = 5.0 + 22.0 + 307.0 + 1.0 + 2.0;
    assert_near(memory.in_flight_bytes, 100_000.0 * 2.0 * 0.1 * (1_000.0 + frame));
    let processor = plan.processor;
    assert_near(processor.deliveries_percent, 200_000.0 * (5.0 + frame / 1_024.0) / 10_000.0);
    assert_near(processor.publishes_percent, 2.0 * 10.0 / 10_000.0);
    assert_near(processor.heartbeats_percent, 0.2);
    assert_near(processor.to_last_ms, 100.0 * (5.0 + frame / 1_024.0) / 8.0);
    let network = plan.network;
    assert_near(network.deliveries_bits_per_s, 8.0 * (200_000.0 * (frame + 90.0) + 2.0 * 90.0));
    assert_near(network.in_bits_per_s, 8.0 * (200_000.0 * 90.0 + 2.0 * (600.0 + 90.0)));
    assert_eq!((plan.files.workers, plan.files.files), (8, 100_000 + 8 * 320));
    assert_eq!(plan.files.limit_nofile, (12_500 + 320) * 10 / 9 + 1);
    assert_eq!(plan.files.proxy_addresses, 2);
}

#[test]
fn a_client_too_far_away_for_the_kernels_share_is_told_of() {
    let near = plan(PlanRequest { events_per_second: 900.0, connections: 10, ..ASK });
    assert_near(near.in_flight.bytes, 900.0 * 0.1 * 337.0);
    assert_near(near.in_flight.bytes_max, 2.0 * 16_384.0);
    assert_near(near.memory.in_flight_bytes, 10.0 * 2.0 * 16_384.0);
    let far = PlanRequest { rtt_ms: 200.0, ..near.request };
    let page = |plan: &CapacityPlan| page::page(plan, &[], &constants());
    assert!(!page(&near).contains("falls behind"));
    assert!(page(&plan(far)).contains("unless unsent_bytes_max is 30330 or more"), "{}", page(&plan(far)));
    let raised = Settings { unsent_bytes_max: 30_330, ..Settings::default() };
    assert!(!page(&plan_with(far, &raised)).contains("falls behind"));
}

#[test]
fn heartbeats_stop_when_events_come_more_often() {
    let idle = plan(PlanRequest { events_per_second: 0.0, ..ASK });
    assert_near(idle.processor.heartbeats_percent, 0.2 + 100_000.0 / 15.0 * 10.0 / 10_000.0);
    // ":\n" as a chunk is 7 bytes.
    assert_near(idle.network.heartbeats_bits_per_s, 8.0 * 100_000.0 / 15.0 * 97.0);
    assert_near(idle.processor.deliveries_percent, 0.0);
    let rare = plan(PlanRequest { events_per_second: 1.0 / 30.0, ..ASK });
    assert_near(rare.network.heartbeats_bits_per_s, idle.network.heartbeats_bits_per_s / 2.0);
    assert_near(plan(ASK).network.heartbeats_bits_per_s, 0.0);
}

#[test]
fn large_events_pay_for_each_packet_and_each_kibibyte() {
    let plan = plan(PlanRequest { bytes: 100_000, connections: 1_000, events_per_second: 1.0, ..ASK });
    let frame = plan.memory.in_flight_bytes / 100.0 - 1_000.0;
    let segments = (frame / 1_448.0).ceil();
    assert_eq!(segments, 70.0);
    assert_near(
        plan.network.deliveries_bits_per_s,
        8.0 * (1_000.0 * (frame + segments * 90.0) + 35.0 * 90.0),
    );
    assert_near(plan.processor.deliveries_percent, (5.0 + frame / 1_024.0) / 10.0);
}

#[test]
fn a_node_is_full_exactly_where_its_first_resource_ends() {
    let rows = [
        (ASK, NodeResource::Processor),
        (PlanRequest { events_per_second: 0.01, ..ASK }, NodeResource::Memory),
        (
            PlanRequest { bytes: 20_000, machine: NodeHardware { cores: 64, ..MACHINE }, ..ASK },
            NodeResource::Network,
        ),
        (
            PlanRequest {
                events_per_second: 0.01,
                machine: NodeHardware { files: 20_000, ..MACHINE },
                ..ASK
            },
            NodeResource::Files,
        ),
    ];
    for (request, resource) in rows {
        let plan_at = |connections| plan(PlanRequest { connections, ..request });
        let most = plan_at(1).connections_per_node_max;
        assert_eq!(plan_at(1).bound_by, resource);
        assert_eq!((plan_at(most).nodes, plan_at(most + 1).nodes), (1, 2), "{resource:?}");
        assert_eq!(plan_at(10 * most).nodes, 10);
        let full = plan_at(most);
        let used = match resource {
            NodeResource::Memory => full.memory.bytes / request.machine.ram_bytes as f64,
            NodeResource::Processor => full.processor.percent / 100.0 / request.machine.cores as f64,
            NodeResource::Network => full.network.out_bits_per_s() / request.machine.nic_bits_per_s as f64,
            NodeResource::Files => continue,
        };
        assert!((0.699..=0.7).contains(&used), "{resource:?}: {used}");
    }
}

#[test]
fn no_more_processors_are_reckoned_with_than_workers_use() {
    let with = |cores| {
        plan(PlanRequest { events_per_second: 20.0, machine: NodeHardware { cores, ..MACHINE }, ..ASK })
    };
    let (all, more) = (with(64), with(128));
    assert_eq!(all.connections_max_by[1], more.connections_max_by[1]);
    assert_near(more.processor.to_last_ms, all.processor.to_last_ms);
    let text = page::page(&more, &[], &constants());
    assert!(text.contains("64 workers at most") && !page::page(&all, &[], &constants()).contains("at most"));
}

#[test]
fn history_is_bounded_by_age_count_and_bytes() {
    let kept = |settings: Settings, request: PlanRequest| plan_with(request, &settings).memory.history_bytes;
    // 300 bytes, their framing, and the overhead of each kept event.
    let each = kept(Settings { history_events: 1, ..Settings::default() }, ASK);
    assert!((500.0..600.0).contains(&each), "{each}");
    assert_near(kept(Settings::default(), ASK), 600.0 * each);
    assert_near(kept(Settings { history_ms: 1_000, ..Settings::default() }, ASK), 2.0 * each);
    let many = PlanRequest { topics: 50_000, ..ASK };
    assert_near(kept(Settings::default(), many), 67_108_864.0);
    let narrow = Settings { history_topic_bytes_max: 5_000, ..Settings::default() };
    assert_near(kept(narrow, ASK), 5_000.0);
}

#[test]
fn topics_of_ones_own_are_published_and_remembered_one_by_one() {
    let shared = plan(ASK);
    let own = plan(PlanRequest { topics: 100_000, ..ASK });
    assert_near(own.processor.publishes_percent, 100_000.0 * shared.processor.publishes_percent);
    assert_near(own.memory.connections_bytes, 100_000.0 * 1_100.0);
    assert!(own.processor.to_last_ms < shared.processor.to_last_ms / 1_000.0);
}

#[test]
fn losing_a_node_brings_its_clients_back_to_the_others() {
    let request = PlanRequest { connections: 1_000_000, ..ASK };
    let all = plan(request);
    let each = all.connections_per_node;
    assert_eq!(all.nodes, 2);
    assert_eq!((all.loss.connections, all.loss.others_suffice), (each, false));
    let spare = 8.0 - all.processor.percent / 100.0;
    assert_near(all.loss.seconds, each as f64 * 25e-6 / spare);
    assert!(plan(PlanRequest { connections: 10_000_000, ..request }).loss.others_suffice);
    let one = plan(PlanRequest { connections: 1_000, ..request });
    assert_eq!((one.nodes, one.loss.seconds, one.loss.others_suffice), (1, 2.4, true));
}

#[test]
fn a_node_that_holds_nobody_is_refused_with_the_numbers() {
    let small = |machine| {
        CapacityPlanner::new(&constants(), &Settings::default(), 300).plan(PlanRequest { machine, ..ASK })
    };
    let fault = small(NodeHardware { ram_bytes: 1_000_000, ..MACHINE }).unwrap_err();
    assert_eq!(fault.resource, NodeResource::Memory);
    assert_eq!(
        page::too_small(&fault),
        "a node holds not one connection: memory for one 4.13 MiB, free 684 KiB; raise --nodes-ram"
    );
    assert_eq!(small(NodeHardware { files: 100, ..MACHINE }).unwrap_err().resource, NodeResource::Files);
    assert_eq!(
        small(NodeHardware { nic_bits_per_s: 5, ..MACHINE }).unwrap_err().resource,
        NodeResource::Network
    );
}

#[test]
fn the_page_has_the_answer_each_need_and_a_line_for_each_size() {
    let constants = constants();
    let settings = Settings::default();
    let planner = CapacityPlanner::new(&constants, &settings, ASK.bytes);
    let sizes: Vec<CapacityPlan> =
        SIZES.iter().map(|&connections| planner.plan(PlanRequest { connections, ..ASK }).unwrap()).collect();
    let page = page::page(&sizes[6], &sizes, &constants);
    for line in [
        "connections                 1 000 000",
        "nodes                       2",
        "  note                      nodes know nothing of each other: publish each event to all",
        "each node                   500 000 connections",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    assert!(!page::page(&sizes[0], &sizes, &constants).contains("know nothing"), "one node has no others");
    assert!(page.contains("processor binds first"), "{page}");
    assert!(page.contains("plan one more"), "{page}");
    let rows = page.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    assert_eq!(rows.count(), SIZES.len(), "{page}");
    assert!(page.lines().all(|line| line == line.trim_end()), "{page}");
}
