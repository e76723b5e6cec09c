//! The first few of many: a page of a list that is too long to sort.

use std::collections::BinaryHeap;

/// The `most` smallest of all items offered; smaller is better.
#[derive(Debug)]
pub(crate) struct TopK<T> {
    heap: BinaryHeap<T>,
    most: usize,
}

impl<T: Ord> TopK<T> {
    /// Begins without items.
    pub(crate) fn new(most: usize) -> TopK<T> {
        TopK { heap: BinaryHeap::new(), most }
    }

    /// Keeps `item` if it is among the `most` smallest so far.
    pub(crate) fn offer(&mut self, item: T) {
        if self.heap.len() < self.most {
            self.heap.push(item);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && item < *worst
        {
            *worst = item;
        }
    }

    /// Returns the kept items, smallest first.
    pub(crate) fn into_sorted(self) -> Vec<T> {
        self.heap.into_sorted_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn it_keeps_what_sorting_everything_would_put_first() {
        let mut prng = Prng::new(7);
        for _ in 0..200 {
            let count = prng.below(60);
            let most = prng.below(20) as usize;
            let mut all: Vec<(u64, u64)> = (0..count).map(|nth| (prng.below(10), nth)).collect();
            let mut top = TopK::new(most);
            all.iter().for_each(|&item| top.offer(item));
            all.sort_unstable();
            all.truncate(most);
            assert_eq!(top.into_sorted(), all);
        }
    }
}
