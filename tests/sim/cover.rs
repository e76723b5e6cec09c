//! Rare branches: their list, and which of them a run or a sweep has hit.
//!
//! Observers of a branch report it here. Knows nothing of how it was reached.

/// Defines the enum and its list from one list of names.
macro_rules! branches {
    ($($name:ident)*) => {
        /// A branch that a sweep must hit at least once.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Branch { $($name),* }

        /// All branches, in the order of the enum.
        const ALL: &[Branch] = &[$(Branch::$name),*];
    };
}

branches! {
    HalfFrame
    HalfGreeting
    HalfHeartbeat
    HalfGap
    HalfAnswer
    HalfEnd
    FullSend
    HalfFrameThenEvicted
    CaughtUpThenLive
    GapAtResume
    GapWhileRunning
    NeedlessGap
    GapOfSeveralTopics
    GapOfPattern
    MatchedLater
    Skipped
    Superseded
    Throttled
    PaceJudged
    StaleReadiness
    StaleReadinessOnReusedSlot
    SpuriousReadiness
    RefusedConnections
    RefusedAddress
    ProxyHeaderRead
    RefusedMemory
    RefusedTopics
    RefusedBodies
    RefusedOverload
    RefusedIdempotencyKeys
    RefusedDraining
    RefusedCredentials
    RefusedOrigin
    RefusedHost
    RefusedAtOnce
    OverloadStream
    MergedTopics
    RemovalDuringRound
    PublishDuringRound
    EventLargerThanHistory
    HeartbeatAfterEvent
    PositionBeforeHeartbeat
    PositionAfterGap
    PositionBeforeEnd
    EndedByLife
    EndedBySilence
    NamedAfterTopic
    EndedByDrain
    DrainPostponed
    CutAtDrainDeadline
    ClosedPeer
    ClosedReset
    ClosedAnswered
    ClosedHeadTimeout
    ClosedBodyTimeout
    ClosedIdle
    ClosedAnswerTimeout
    ClosedSlowStalled
    ClosedSlowEvicted
    ClosedSlowUnacknowledged
    PassedByWithoutBeingSlow
    Shed
    ClosedUpstream
    ClosedHost
    RepeatedPublish
    RepeatedAfterCut
    ChunkedBody
    InterimAnswer
    ProbeTimedOut
    EndedByOperator
    EndedBefore
    Forgotten
    RefusedSurveys
    SurveyIncomplete
    AskerGone
    ExactLook
    ClosedOperator
    PipelineHeld
    FellAsleepWithMail
    WokenAsleep
    ClockStepBack
    HugeTimeStep
    ResumeUnknown
    ResumeForeign
    ResumeOtherRun
    ResumeMoment
    ResumeLast
    PolledEvents
    PolledInVain
    PolledAgain
    SnapshotEnded
    SnapshotAfterId
    SnapshotPolled
    HalfClosedPeer
    StreamBehindAnswers
    ControlMailboxFull
    ForeignEvent
    OrderedOutOfTurn
    OutOfOrder
    Restarted
    Reloaded
    PublishedWhileSorting
    OrderRepeated
    OrderLost
    HistoryLost
    RefusedOrderLate
    RefusedOrderFailed
}

/// How often each branch was hit.
#[derive(Clone, Debug)]
pub struct Cover([u64; ALL.len()]);

impl Default for Cover {
    fn default() -> Cover {
        Cover([0; ALL.len()])
    }
}

impl Cover {
    /// Notes a hit.
    pub fn hit(&mut self, branch: Branch) {
        self.0[branch as usize] += 1;
    }

    /// Notes a hit on a condition.
    pub fn hit_if(&mut self, condition: bool, branch: Branch) {
        if condition {
            self.hit(branch);
        }
    }

    /// Whether a branch was hit.
    pub fn has(&self, branch: Branch) -> bool {
        self.0[branch as usize] > 0
    }

    /// Adds another run's hits.
    pub fn add(&mut self, other: &Cover) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, hits)| *sum += hits);
    }

    /// Branches that were not hit.
    pub fn missing(&self) -> Vec<Branch> {
        ALL.iter().copied().filter(|&branch| !self.has(branch)).collect()
    }

    /// Names and hits, in the order of the list.
    pub fn rows(&self) -> Vec<(String, u64)> {
        self.0.iter().zip(ALL).map(|(&hits, branch)| (format!("{branch:?}"), hits)).collect()
    }
}
