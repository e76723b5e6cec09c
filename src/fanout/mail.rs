//! What one worker tells another: frames in publish order, and rare control messages; and what an orderer
//! tells a worker.
//!
//! Owns the mailboxes and the sleep protocol. A publisher pushes under the hub's lock, so all mailboxes see
//! the node's one order. A publisher that pushed to a worker that sleeps wakes it after the lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use super::application_desk::VerdictMail;
use super::hub::ticket::OrderSettlement;
use super::shared_frame::SharedFrame;
use super::survey::Survey;
use super::token::ConnToken;
use crate::base::id::EventId;
use crate::base::limits::{CONTROL_MAILS_MAX, MAILBOX_FRAMES_MAX, SURVEY_MAILS_MAX};

/// One item of the ordered mailbox.
#[derive(Debug)]
pub(crate) enum MailboxItem {
    /// An event for the subscribers of its topics.
    Frame(Arc<SharedFrame>),
    /// A readiness probe, in order with the frames.
    Probe(Arc<MailboxProbe>),
    /// Events up to this id are lost, and come to nobody.
    Loss(EventId),
}

/// A probe that passes through every worker.
#[derive(Debug)]
pub(crate) struct MailboxProbe {
    /// Workers that have not seen it, a bit each.
    left: AtomicU64,
}

impl MailboxProbe {
    /// One that no worker has seen.
    pub(crate) fn new(workers: usize) -> MailboxProbe {
        MailboxProbe { left: AtomicU64::new(all_workers(workers)) }
    }

    /// A worker has come to it.
    pub(crate) fn mark_seen(&self, worker: usize) {
        self.left.fetch_and(!(1 << worker), Ordering::Relaxed);
    }

    /// Workers that have not.
    pub(crate) fn unseen_workers(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

/// A bit for each worker.
pub(crate) fn all_workers(workers: usize) -> u64 {
    u64::MAX >> (u64::BITS - workers as u32)
}

/// Messages outside the publish order.
#[derive(Clone, Debug)]
pub enum ControlMessage {
    /// End all streams over the coming `drain_ms`.
    Drain,
    /// End everything now.
    Stop,
    /// A question about connections or topics.
    Survey(Arc<Survey>),
    /// A connection's question has been answered by all workers that were asked.
    Surveyed(ConnToken, Arc<Survey>),
    /// Credentials were taken back: end the streams that they have let in.
    Revoke,
    /// Frames in flight leave no room: end the streams that hold one which history no longer keeps.
    Shed,
}

/// The sending ends of one worker's mailboxes, and whether it sleeps.
#[derive(Debug)]
pub struct MailboxSender {
    frames: Sender<MailboxItem>,
    control: Sender<ControlMessage>,
    /// Bounded by the tickets there are: each is settled once, and holds its share until then.
    settlements: Sender<OrderSettlement>,
    /// Bounded by the questions there are.
    verdicts: Sender<VerdictMail>,
    asleep: AtomicBool,
}

/// The receiving ends, owned by the worker.
#[derive(Debug)]
pub struct MailboxReceiver {
    /// Frames and probes in publish order.
    pub(crate) frames: Receiver<MailboxItem>,
    /// Control messages.
    pub(crate) control: Receiver<ControlMessage>,
    /// Answers to publishes that wait for their order.
    pub(crate) settlements: Receiver<OrderSettlement>,
    /// Words of the application about requests that wait.
    pub(crate) verdicts: Receiver<VerdictMail>,
}

impl MailboxSender {
    /// A pair of connected ends.
    pub(crate) fn pair() -> (MailboxSender, MailboxReceiver) {
        let (frames, frames_in) = bounded(MAILBOX_FRAMES_MAX);
        let (control, control_in) = bounded(CONTROL_MAILS_MAX);
        let (settlements, settlements_in) = unbounded();
        let (verdicts, verdicts_in) = unbounded();
        let asleep = AtomicBool::new(false);
        let mailbox = MailboxSender { frames, control, settlements, verdicts, asleep };
        let receiver = MailboxReceiver {
            frames: frames_in,
            control: control_in,
            settlements: settlements_in,
            verdicts: verdicts_in,
        };
        (mailbox, receiver)
    }

    /// Frames that fit now. Only the holder of the hub's lock may rely on it: others only take.
    pub(crate) fn free_slots(&self) -> usize {
        MAILBOX_FRAMES_MAX - self.frames.len()
    }

    /// Frames that wait now.
    pub fn queued_frames(&self) -> usize {
        self.frames.len()
    }

    /// Pushes where `room` was seen under the same lock.
    pub(crate) fn push(&self, mail: MailboxItem) {
        let pushed = self.frames.try_send(mail);
        // A worker that has ended has no subscribers left to miss it.
        assert!(!matches!(pushed, Err(TrySendError::Full(_))), "room was reserved under the hub's lock");
    }

    /// Sends a control message; false when the mailbox is full or the worker has ended.
    pub fn send_control(&self, control: ControlMessage) -> bool {
        match self.control.try_send(control) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Sends the answer of a publisher. A worker that has ended answers nobody.
    pub(crate) fn send_settlement(&self, settlement: OrderSettlement) {
        let _ = self.settlements.send(settlement);
    }

    /// Sends the word of the application. A worker that has ended lets nobody in.
    pub(crate) fn send_verdict(&self, verdict: VerdictMail) {
        let _ = self.verdicts.send(verdict);
    }

    /// Whether the worker reads its control messages, as far as their number tells.
    pub(crate) fn can_take_survey(&self) -> bool {
        self.control.len() < SURVEY_MAILS_MAX
    }

    /// Whether the worker slept and must be woken by the caller. Call after pushing.
    pub(crate) fn claim_sleep(&self) -> bool {
        // Pairs with `fall_asleep`: either the worker sees the mail or we see that it sleeps.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// Announces sleep, then says whether the mailboxes are still empty, so that the worker may block.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        let answers = self.settlements.is_empty() && self.verdicts.is_empty();
        self.frames.is_empty() && self.control.is_empty() && answers
    }

    /// The worker runs again.
    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
