//! A topic forgets the events that it keeps, because the operator asks: in slices, between which the lock is
//! free.
//!
//! Only events that were published before the request go. Floors rise as with every eviction, so those that
//! return are told a gap. A stream that reads the log meanwhile is told one, too, and goes on.

use std::sync::Arc;

use super::{Hub, HubState};
use crate::base::id::EventId;
use crate::base::limits::{EVICTIONS_PER_CALL, SWEEP_CALLS_PER_TURN};
use crate::base::time::Now;
use crate::fanout::shared_frame::TopicRef;
use crate::fanout::topic_log::{KeyFate, LogView};

/// The progress of one topic's forgetting.
#[derive(Debug)]
pub(crate) struct TopicForgetting {
    name: Arc<str>,
    topic: TopicRef,
    /// The newest event that goes; none if nothing was kept.
    newest: Option<EventId>,
    events: u64,
}

impl TopicForgetting {
    /// The name of the topic.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Number of events that the topic has let go so far.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }
}

impl Hub {
    /// Looks a topic up. Returns none if it does not exist.
    pub(crate) fn begin_forgetting(&self, name: &str) -> Option<TopicForgetting> {
        let inner = self.lock();
        let index = inner.find_topic(name)?;
        let topic = inner.topic(index);
        let (name, newest) = (Arc::clone(&topic.name), topic.log.newest());
        Some(TopicForgetting { name, topic: topic.as_ref(index), newest, events: 0 })
    }

    /// Lets some of the events go, with a pause for others between one hold of the lock and the next. Returns
    /// whether more are left.
    pub(crate) fn forget_some(&self, forgetting: &mut TopicForgetting, now: Now) -> bool {
        (0..SWEEP_CALLS_PER_TURN).all(|_| self.lock().forget(forgetting, EVICTIONS_PER_CALL, now))
    }
}

impl HubState {
    /// Lets at most `most` events of a topic go. Returns whether more are left.
    fn forget(&mut self, forgetting: &mut TopicForgetting, most: usize, now: Now) -> bool {
        let TopicRef { index, incarnation } = forgetting.topic;
        let Some(newest) = forgetting.newest else { return false };
        self.now_ms = now.mono_ms;
        for _ in 0..most {
            // It may have given way to another topic meanwhile.
            let Some(topic) = self.topics.get(index).filter(|topic| topic.incarnation == incarnation) else {
                return false;
            };
            let view = LogView::new(&topic.log, &self.journals);
            // Retained events are older than all others, and an event that comes meanwhile may become one.
            let retained =
                view.retained_after(EventId::ZERO).next().is_some_and(|event| event.id() <= newest);
            if !retained && view.oldest().is_none_or(|oldest| oldest > newest) {
                self.retire_if_idle(index, now);
                return false;
            }
            if retained {
                self.evict_retained(index);
            } else {
                self.evict_from_topic(index, KeyFate::Gone);
            }
            let topic = &mut self.topics[index];
            topic.forgot = true;
            self.patterns.mark_forgotten(topic.patterns, topic.log.own_floor());
            forgetting.events += 1;
        }
        true
    }

    /// Returns the id up to which a topic has forgotten its events because the operator asked, or has lost
    /// them with all others; none once its log has let newer events go for another reason.
    pub(super) fn forgotten_up_to(&self, index: u32) -> Option<EventId> {
        let topic = self.topic(index);
        let (own, lost) = (topic.log.own_floor(), self.journals.floor());
        if own <= lost { Some(lost) } else { topic.forgot.then_some(own) }
    }
}
