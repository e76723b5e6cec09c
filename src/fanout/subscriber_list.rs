//! The subscribers of one topic on one worker: slots of connections. A single one needs no memory of its own.

use std::ops::{Deref, DerefMut};

/// A subscriber's entry in a topic's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubscriberPlace {
    /// The worker's index of the topic.
    pub(crate) topic: u32,
    /// Index in its list of subscribers.
    pub(crate) index: u32,
}

/// Slots, in the order of rounds.
#[derive(Debug)]
pub(crate) enum SubscriberList {
    /// The usual case of personal topics.
    One(u32),
    /// Several, or none.
    Many(Vec<u32>),
}

const _: () = assert!(size_of::<SubscriberList>() <= 24);

impl SubscriberList {
    /// A list of nobody.
    pub(crate) fn new() -> SubscriberList {
        SubscriberList::Many(Vec::new())
    }

    /// Appends a slot.
    pub(crate) fn push(&mut self, slot: u32) {
        match self {
            SubscriberList::One(first) => *self = SubscriberList::Many(vec![*first, slot]),
            SubscriberList::Many(slots) if slots.is_empty() => *self = SubscriberList::One(slot),
            SubscriberList::Many(slots) => slots.push(slot),
        }
    }

    /// Removes the slot at `index`; the last one takes its place. Gives memory back that is not needed.
    pub(crate) fn swap_remove(&mut self, index: usize) {
        let SubscriberList::Many(slots) = self else {
            assert_eq!(index, 0, "there is one");
            return *self = SubscriberList::new();
        };
        slots.swap_remove(index);
        match slots[..] {
            [only] => *self = SubscriberList::One(only),
            _ if slots.len() < slots.capacity() / 4 => slots.shrink_to(slots.len() * 2),
            _ => {}
        }
    }
}

impl Deref for SubscriberList {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        match self {
            SubscriberList::One(only) => std::slice::from_ref(only),
            SubscriberList::Many(slots) => slots,
        }
    }
}

impl DerefMut for SubscriberList {
    fn deref_mut(&mut self) -> &mut [u32] {
        match self {
            SubscriberList::One(only) => std::slice::from_mut(only),
            SubscriberList::Many(slots) => slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn it_is_what_a_plain_list_would_be() {
        let mut prng = Prng::new(7);
        let (mut list, mut twin) = (SubscriberList::new(), Vec::new());
        for step in 0..20_000_u32 {
            let grows = prng.below(100) < if step % 400 < 200 { 60 } else { 40 };
            if grows {
                list.push(step);
                twin.push(step);
            } else if !twin.is_empty() {
                let index = prng.below(twin.len() as u64) as usize;
                list.swap_remove(index);
                twin.swap_remove(index);
            }
            assert_eq!(*list, twin[..]);
            assert!(twin.len() != 1 || matches!(list, SubscriberList::One(_)), "one takes no memory");
        }
    }
}
