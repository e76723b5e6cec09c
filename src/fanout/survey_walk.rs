//! A worker's part in surveys: a slice of its connections, or of the hub's topics, at the end of each turn.
//!
//! A slice costs at most `SURVEY_LOOKS_PER_TURN` looks, so a subscriber waits for a fraction of a batch,
//! however many connections there are and however many surveys. Stores nothing with a connection.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;

use super::conn::ConnState;
use super::connection_budget::address_of;
use super::hash::SeededHash;
use super::heavy_hitters::HeavyHitters;
use super::hub::HubGuard;
use super::leaving::end_by_operator;
use super::roster::Roster;
use super::seam::Io;
use super::survey::{PlacedRow, RankedConnection, Survey, SurveyFindings, SurveyQuestion};
use super::survey_mail::submit_findings;
use super::survey_progress::{SurveyWalk, TopicByName, WalkFindings, WalkPlace};
use super::survey_row::{connection_row, measure_lag, names_hold, sort_key};
use super::token::ConnToken;
use super::top_k::TopK;
use super::topics::LocalTopics;
use super::turn_context::TurnContext;
use crate::base::counters::Count;
use crate::base::survey::{ConnectionFilter, ConnectionId, ConnectionSort, SearchText, TopicRow, TopicSort};

/// Connections or topics looked at for surveys in one turn, so that subscribers wait for a quarter of a
/// batch.
const SURVEY_LOOKS_PER_TURN: usize = 4_096;
/// Topics looked at in one hold of the hub's lock: each is read where the caches do not have it.
const TOPICS_PER_HOLD: usize = 1_024;
/// Looks that one question to the kernel counts for.
const KERNEL_LOOKS: usize = 24;

/// Surveys that a worker takes part in, each a slice in turn.
#[derive(Debug)]
pub(super) struct SurveyWalks {
    walks: VecDeque<SurveyWalk>,
    /// For tables of addresses, which clients choose.
    hash: SeededHash,
}

impl SurveyWalks {
    /// Begins without a survey.
    pub(super) fn new(hash: SeededHash) -> SurveyWalks {
        SurveyWalks { walks: VecDeque::new(), hash }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.walks.is_empty()
    }

    /// Takes a question in.
    pub(super) fn begin_walk(
        &mut self,
        roster: &mut Roster,
        topics: &mut LocalTopics,
        turn: &mut TurnContext<'_, impl Io>,
        survey: Arc<Survey>,
    ) {
        if survey.is_abandoned() {
            return;
        }
        let seen = match &survey.question {
            SurveyQuestion::End(id) => {
                let ended = roster.owns(ConnToken::new(id.slot, id.generation));
                if ended {
                    end_by_operator(roster, topics, turn, id.slot);
                }
                let found = SurveyFindings { ended, ..SurveyFindings::default() };
                let mailed = submit_findings(turn.node, &survey, turn.index, found);
                return turn.carried.note_mailed(mailed);
            }
            SurveyQuestion::Rank { sort, most, .. } => WalkFindings::Ranked(*sort, TopK::new(*most)),
            SurveyQuestion::Describe(_) => WalkFindings::Rows(Vec::new()),
            SurveyQuestion::Addresses => WalkFindings::Addresses(HeavyHitters::new(self.hash.clone())),
            SurveyQuestion::Topics { sort, most, .. } => WalkFindings::Topics(*sort, TopK::new(*most)),
            SurveyQuestion::Forget(topic) => match turn.node.hub.begin_forgetting(topic) {
                Some(forgetting) => WalkFindings::Forgotten(forgetting),
                None => {
                    let mailed = submit_findings(turn.node, &survey, turn.index, SurveyFindings::default());
                    return turn.carried.note_mailed(mailed);
                }
            },
        };
        self.walks.push_back(SurveyWalk { survey, place: WalkPlace::default(), seen });
    }

    /// Looks at one slice of the first survey in the queue.
    pub(super) fn continue_walk(
        &mut self,
        roster: &Roster,
        topics: &LocalTopics,
        turn: &mut TurnContext<'_, impl Io>,
    ) {
        let Some(mut walk) = self.walks.pop_front() else { return };
        if walk.survey.is_abandoned() {
            return;
        }
        let over = match (&walk.survey.question, &mut walk.seen) {
            (SurveyQuestion::Describe(ids), WalkFindings::Rows(rows)) => {
                describe_connections(roster, topics, turn, &mut walk.place.cursor, ids, rows)
            }
            (SurveyQuestion::Topics { search, .. }, WalkFindings::Topics(sort, top)) => {
                let sort = *sort;
                scan_topics(turn, &mut walk.place.cursor, &mut walk.place.total, search.as_ref(), |row| {
                    top.offer(rank_topic(sort, row));
                })
            }
            (SurveyQuestion::Forget(_), WalkFindings::Forgotten(forgetting)) => {
                let before = forgetting.events();
                let more = turn.node.hub.forget_some(forgetting, turn.now);
                turn.counters().add(Count::Forgotten, forgetting.events() - before);
                !more
            }
            (SurveyQuestion::Rank { filter, .. }, seen) => {
                scan_connections(roster, topics, turn, &mut walk.place, filter, seen)
            }
            (_, seen) => {
                let all = ConnectionFilter::default();
                scan_connections(roster, topics, turn, &mut walk.place, &all, seen)
            }
        };
        if !over {
            return self.walks.push_back(walk);
        }
        let mut part = SurveyFindings { total: walk.place.total, ..SurveyFindings::default() };
        match walk.seen {
            WalkFindings::Ranked(_, top) => part.ranked = top.into_sorted(),
            WalkFindings::Rows(rows) => part.rows = rows,
            WalkFindings::Addresses(hitters) => part.addresses = hitters.into_counts(),
            WalkFindings::Topics(_, top) => {
                part.topics = top.into_sorted().into_iter().map(|(_, TopicByName(row))| row).collect();
            }
            WalkFindings::Forgotten(forgetting) => {
                part.forgotten = Some(forgetting.events());
                turn.carried.note_forgotten(forgetting);
            }
        }
        let mailed = submit_findings(turn.node, &walk.survey, turn.index, part);
        turn.carried.note_mailed(mailed);
    }
}

/// Offers one slice of connections to a ranking or a count. Returns whether it was the last.
fn scan_connections(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    place: &mut WalkPlace,
    filter: &ConnectionFilter,
    seen: &mut WalkFindings,
) -> bool {
    let mut hub: Option<HubGuard<'_>> = None;
    let mut looks = 0;
    while looks < SURVEY_LOOKS_PER_TURN {
        if place.cursor >= roster.slots() {
            return true;
        }
        let slot = place.cursor as u32;
        place.cursor += 1;
        looks += 1;
        let Some(conn) = roster.find(slot) else { continue };
        if filter.listener.is_some_and(|kind| kind != conn.listener) {
            continue;
        }
        if let Some(search) = &filter.search {
            looks += KERNEL_LOOKS;
            // It takes the lock itself, and not while it asks the kernel.
            hub = None;
            if !names_hold(roster, topics, turn, slot, search) {
                continue;
            }
        }
        place.total += 1;
        match seen {
            WalkFindings::Ranked(ConnectionSort::Lag, top) => {
                let mut key = 0;
                if let ConnState::Streaming(stream) = &conn.state
                    && !stream.is_live()
                {
                    looks += stream.places().len();
                    let hub = hub.get_or_insert_with(|| turn.node.hub.lock());
                    let (age_ms, _) = measure_lag(stream, topics, hub, turn.now);
                    // The moment, as in `key`.
                    key = if age_ms == 0 { 0 } else { u64::MAX - (turn.now.mono_ms - age_ms) };
                }
                top.offer(RankedConnection {
                    key: Reverse(u128::from(key)),
                    id: turn.connection_id(slot, conn),
                });
            }
            WalkFindings::Ranked(sort, top) => {
                let asks = matches!(sort, ConnectionSort::Bytes | ConnectionSort::Address);
                looks += if asks { KERNEL_LOOKS } else { 0 };
                let key = Reverse(sort_key(roster, turn, slot, *sort));
                top.offer(RankedConnection { key, id: turn.connection_id(slot, conn) });
            }
            WalkFindings::Addresses(hitters) => {
                looks += KERNEL_LOOKS;
                if let Some(client) = turn.client_address(roster, slot) {
                    hitters.add(address_of(client.ip));
                }
            }
            WalkFindings::Rows(_) | WalkFindings::Topics(..) | WalkFindings::Forgotten(_) => {
                unreachable!("these do not look at all connections")
            }
        }
    }
    false
}

/// Describes one slice of the connections in question. Returns whether it was the last.
fn describe_connections(
    roster: &Roster,
    topics: &LocalTopics,
    turn: &mut TurnContext<'_, impl Io>,
    cursor: &mut usize,
    ids: &[ConnectionId],
    rows: &mut Vec<PlacedRow>,
) -> bool {
    let mut looks = 0;
    while looks < SURVEY_LOOKS_PER_TURN {
        let Some(id) = ids.get(*cursor) else { return true };
        let place = *cursor;
        *cursor += 1;
        looks += 1;
        let token = ConnToken::new(id.slot, id.generation);
        if id.worker as usize != turn.index || !roster.owns(token) {
            continue;
        }
        looks += 2 * KERNEL_LOOKS;
        rows.push(PlacedRow { place, row: connection_row(roster, topics, turn, *id) });
    }
    false
}

/// Offers one slice of the hub's topics. Returns whether it was the last.
fn scan_topics(
    turn: &TurnContext<'_, impl Io>,
    cursor: &mut usize,
    total: &mut u64,
    search: Option<&SearchText>,
    mut offer: impl FnMut(TopicRow),
) -> bool {
    let hub = turn.node.hub.lock();
    let end = hub.topic_slots().min(*cursor + TOPICS_PER_HOLD);
    let rows = (*cursor..end).filter_map(|index| hub.topic_row(index as u32, turn.now.wall_ms));
    for row in rows.filter(|row| search.is_none_or(|search| search.is_in(&row.topic))) {
        *total += 1;
        offer(row);
    }
    *cursor = end;
    end == hub.topic_slots()
}

fn rank_topic(sort: TopicSort, row: TopicRow) -> (Reverse<u64>, TopicByName) {
    let key = match sort {
        TopicSort::Subscribers => row.subscribers + row.pattern_subscribers,
        TopicSort::Events => row.events,
        TopicSort::Bytes => row.bytes,
        TopicSort::Rate => row.recent.per_thousand_seconds(),
        TopicSort::Name => 0,
    };
    (Reverse(key), TopicByName(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::counters::CloseReason;
    use crate::base::listener::ListenerKind;
    use crate::base::settings::Settings;
    use crate::fanout::closing::close;
    use crate::fanout::mail::ControlMessage;
    use crate::fanout::seam::CloseMode;
    use crate::fanout::stage_tests::Stage;
    use crate::fanout::survey_mail::send_survey;
    use crate::fanout::token::Asker;

    /// A worker with its walks, and a connection that asks.
    struct Surveyor {
        stage: Stage,
        walks: SurveyWalks,
        asker: Asker,
    }

    impl Surveyor {
        /// Begins with the connection that asks, and room for `connections` more.
        fn new(connections: usize) -> Surveyor {
            let mut stage = Stage::with_connections(Settings::default(), connections);
            let slot = stage.open(ListenerKind::Control);
            let asker = Asker { worker: 0, token: stage.roster.token(slot) };
            Surveyor { stage, walks: SurveyWalks::new(SeededHash::new(5)), asker }
        }

        fn begin(&mut self, question: SurveyQuestion) -> Arc<Survey> {
            let survey = send_survey(&self.stage.node, question, Some(self.asker), 1);
            let walks = &mut self.walks;
            self.stage.step(|roster, topics, turn| {
                let Ok(ControlMessage::Survey(survey)) = turn.inbox.control.try_recv() else {
                    panic!("it was sent")
                };
                walks.begin_walk(roster, topics, turn, survey);
            });
            survey
        }

        fn walk(&mut self) {
            let walks = &mut self.walks;
            self.stage.step(|roster, topics, turn| walks.continue_walk(roster, topics, turn));
        }

        /// Walks until a survey is complete and its asker has word. Returns the turns and the findings.
        fn finish(&mut self, survey: &Arc<Survey>) -> (usize, SurveyFindings) {
            let mut turns = 0;
            while survey.pending_workers() != 0 {
                self.walk();
                turns += 1;
            }
            let told = self.stage.step(|_, _, turn| turn.inbox.control.try_recv());
            assert!(
                matches!(&told, Ok(ControlMessage::Surveyed(_, told)) if Arc::ptr_eq(told, survey)),
                "{told:?}"
            );
            (turns, survey.take_findings())
        }

        fn id(&self, slot: u32) -> ConnectionId {
            ConnectionId { worker: 0, slot, generation: self.stage.roster.conn(slot).generation }
        }
    }

    fn rank(search: Option<&str>, most: usize) -> SurveyQuestion {
        let search = search.map(|text| SearchText::new(text).expect("short"));
        let filter = ConnectionFilter { listener: Some(ListenerKind::Public), search };
        SurveyQuestion::Rank { sort: ConnectionSort::Age, filter, most }
    }

    fn slots(found: &[RankedConnection]) -> Vec<u32> {
        found.iter().map(|ranked| ranked.id.slot).collect()
    }

    #[test]
    fn a_slice_looks_at_so_many_connections_and_the_next_one_goes_on() {
        let mut surveyor = Surveyor::new(SURVEY_LOOKS_PER_TURN + 10);
        for _ in 0..SURVEY_LOOKS_PER_TURN + 10 {
            surveyor.stage.open(ListenerKind::Public);
            surveyor.stage.now_ms += 40;
        }
        let survey = surveyor.begin(rank(None, 3));
        let (turns, found) = surveyor.finish(&survey);
        assert_eq!(turns, surveyor.stage.roster.slots() / SURVEY_LOOKS_PER_TURN + 1);
        assert_eq!(found.total, SURVEY_LOOKS_PER_TURN as u64 + 10, "the asker is not public");
        assert_eq!(slots(&found.ranked), [1, 2, 3], "the oldest come first");
        assert!(surveyor.walks.is_empty());
    }

    #[test]
    fn a_search_asks_the_kernel_and_has_shorter_slices() {
        let mut surveyor = Surveyor::new(400);
        for nth in 0..300 {
            surveyor.stage.subscribe(if nth % 100 == 7 { "topic=Wanted" } else { "topic=other" });
        }
        let survey = surveyor.begin(rank(Some("wanted"), 10));
        let (turns, found) = surveyor.finish(&survey);
        assert_eq!(turns, (300 * (KERNEL_LOOKS + 1)).div_ceil(SURVEY_LOOKS_PER_TURN));
        assert_eq!((found.total, slots(&found.ranked)), (3, vec![8, 108, 208]));
    }

    #[test]
    fn surveys_take_turns_and_an_abandoned_one_ends() {
        let mut surveyor = Surveyor::new(400);
        for _ in 0..300 {
            surveyor.stage.open(ListenerKind::Public);
        }
        let long = surveyor.begin(rank(Some("x"), 10));
        let short = surveyor.begin(rank(None, 10));
        let dropped = surveyor.begin(rank(Some("x"), 10));
        surveyor.walk();
        let (turns, found) = surveyor.finish(&short);
        assert_eq!((turns, found.total, long.pending_workers()), (1, 300, 1), "it waits for one slice");
        dropped.abandon();
        surveyor.walk();
        assert_eq!(surveyor.finish(&long).1.total, 0);
        assert!(surveyor.walks.is_empty() && dropped.pending_workers() == 1, "nobody is told");
        let survey = Arc::new(Survey::new(rank(None, 1), None, 1));
        survey.abandon();
        let Surveyor { stage, walks, .. } = &mut surveyor;
        stage.step(|roster, topics, turn| walks.begin_walk(roster, topics, turn, survey));
        assert!(walks.is_empty());
    }

    #[test]
    fn rows_are_of_those_that_still_live() {
        let mut surveyor = Surveyor::new(9);
        let [gone, stream, idle] = ["topic=a", "topic=b", ""].map(|query| match query {
            "" => surveyor.stage.open(ListenerKind::Public),
            query => surveyor.stage.subscribe(query),
        });
        let ids = [gone, stream, idle].map(|slot| surveyor.id(slot));
        surveyor.stage.step(|roster, topics, turn| {
            close(roster, topics, turn, gone, CloseMode::Orderly, CloseReason::Peer);
        });
        surveyor.stage.subscribe("topic=c");
        let elsewhere = ConnectionId { worker: 1, ..ids[1] };
        let survey = surveyor.begin(SurveyQuestion::Describe([&ids[..], &[elsewhere]].concat()));
        let (_, found) = surveyor.finish(&survey);
        let rows: Vec<_> = found.rows.iter().map(|placed| (placed.place, placed.row.id)).collect();
        assert_eq!(rows, [(1, ids[1]), (2, ids[2])]);
        assert_eq!(*found.rows[0].row.topics, [Box::<str>::from("b")]);
    }

    #[test]
    fn the_operator_ends_the_connection_that_was_meant_and_no_later_one() {
        let mut surveyor = Surveyor::new(9);
        let [stream, idle] = [surveyor.stage.subscribe("topic=a"), surveyor.stage.open(ListenerKind::Public)];
        let ids = [stream, idle].map(|slot| surveyor.id(slot));
        surveyor.stage.take_sent(stream);
        for id in ids {
            let survey = surveyor.begin(SurveyQuestion::End(id));
            assert!(surveyor.finish(&survey).1.ended, "{id}");
        }
        surveyor.stage.write();
        let told = surveyor.stage.take_sent(stream);
        assert!(told.contains("retry: ") && told.ends_with("0\r\n\r\n"), "{told}");
        assert_eq!(surveyor.stage.io.closed, [idle, stream].map(|slot| (slot, CloseMode::Orderly)));
        let next = [(); 2].map(|()| surveyor.stage.open(ListenerKind::Public));
        assert!(next.contains(&idle));
        let survey = surveyor.begin(SurveyQuestion::End(ids[1]));
        assert!(!surveyor.finish(&survey).1.ended, "that one is gone");
        assert!(surveyor.stage.roster.find(idle).is_some());
    }

    #[test]
    fn topics_come_in_their_order_a_hold_at_a_time() {
        let mut surveyor = Surveyor::new(9);
        for nth in 0..TOPICS_PER_HOLD {
            surveyor.stage.publish(&format!("t{nth:04}"), "x");
        }
        surveyor.stage.subscribe("topic=t0700");
        surveyor.stage.publish("t0_last", "x");
        let ask = |search: Option<&str>| SurveyQuestion::Topics {
            sort: TopicSort::Subscribers,
            search: search.map(|text| SearchText::new(text).expect("short")),
            most: 3,
        };
        let survey = surveyor.begin(ask(Some("T0")));
        let (turns, found) = surveyor.finish(&survey);
        let names: Vec<&str> = found.topics.iter().map(|row| &*row.topic).collect();
        let topic_slots = surveyor.stage.node.hub.lock().topic_slots();
        assert_eq!((turns, found.total), (topic_slots.div_ceil(TOPICS_PER_HOLD), 1_001));
        assert!(turns > 1);
        assert_eq!(names, ["t0700", "t0000", "t0001"], "those with as many subscribers by name");
    }

    #[test]
    fn a_topic_that_forgets_is_counted_and_noted_for_the_log() {
        let mut surveyor = Surveyor::new(9);
        for _ in 0..5 {
            surveyor.stage.publish("a", "x");
        }
        let survey = surveyor.begin(SurveyQuestion::Forget("a".into()));
        assert_eq!(surveyor.finish(&survey).1.forgotten, Some(5));
        let noted = surveyor.stage.step(|_, _, turn| turn.carried.take_forgotten());
        let noted: Vec<_> = noted.iter().map(|topic| (topic.name(), topic.events())).collect();
        assert_eq!((noted, surveyor.stage.count(Count::Forgotten)), (vec![("a", 5)], 5));
        let survey = surveyor.begin(SurveyQuestion::Forget("b".into()));
        assert_eq!(surveyor.finish(&survey).1.forgotten, None, "there is no such topic");
    }
}
