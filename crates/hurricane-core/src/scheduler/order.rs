//! The nodes in the order in which they should get the next task of one shape.
//!
//! Whatever changes on a node moves it, at a cost that does not depend on how many nodes there are.
//! For that the order is no finer than it need be: equals stand in a bucket, a set of bits, and
//! among them the one with the smallest key comes first.

use crate::scheduler::node::NodeKey;

/// How many steps of a node's load are told apart while it has room.
const ROOM_BUCKETS: u8 = 28;

/// And how many of its backlog.
const BACKLOG_BUCKETS: u8 = 36;

const BUCKETS: usize = (ROOM_BUCKETS + BACKLOG_BUCKETS) as usize;

/// How fine the smallest steps of a backlog are: the time of a task that takes next to none.
const STEP_US: u64 = 32;

/// How many buckets a doubling of the backlog is cut into.
const STEPS_A_DOUBLING: u32 = 4;

/// How well a node can take a task: smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bucket(u8);

impl Bucket {
    /// It has room; `used` of `all` that it has is in use.
    #[inline]
    pub(super) fn room(used: u64, all: u64) -> Self {
        let step = used.saturating_mul(u64::from(ROOM_BUCKETS)) / all.max(1);
        Self(u8::try_from(step).unwrap_or(u8::MAX).min(ROOM_BUCKETS - 1))
    }

    /// It has none, and so much waits there for each slot.
    #[inline]
    pub(super) fn backlog(load_us: u64) -> Self {
        let steps = load_us / STEP_US;
        let doublings = steps.max(1).ilog2();
        let index = if doublings < STEPS_A_DOUBLING.ilog2() {
            u32::try_from(steps).unwrap_or(0)
        } else {
            let within = (steps >> (doublings - STEPS_A_DOUBLING.ilog2())) % 4;
            let before = STEPS_A_DOUBLING * (doublings - STEPS_A_DOUBLING.ilog2() + 1);
            before + u32::try_from(within).unwrap_or(0)
        };
        let index = u8::try_from(index).unwrap_or(u8::MAX).min(BACKLOG_BUCKETS - 1);
        Self(ROOM_BUCKETS + index)
    }

    /// Whether a task would run there at once.
    #[inline]
    pub(super) fn has_room(self) -> bool {
        self.0 < ROOM_BUCKETS
    }
}

/// Nodes by bucket.
#[derive(Debug)]
pub(super) struct Order {
    buckets: Box<[Keys]>,
    /// A bit for each bucket with nodes in it.
    occupied: u64,
    length: usize,
}

impl Default for Order {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Keys::default()).collect(), occupied: 0, length: 0 }
    }
}

impl Order {
    #[inline]
    pub(super) fn insert(&mut self, bucket: Bucket, key: NodeKey) {
        self.buckets[usize::from(bucket.0)].insert(key.0 as usize);
        self.occupied |= 1 << bucket.0;
        self.length += 1;
    }

    /// Moves a node from one bucket to another.
    #[inline]
    pub(super) fn change(&mut self, former: Bucket, present: Bucket, key: NodeKey) {
        self.remove(former, key);
        self.insert(present, key);
    }

    #[inline]
    pub(super) fn remove(&mut self, bucket: Bucket, key: NodeKey) {
        let keys = &mut self.buckets[usize::from(bucket.0)];
        keys.remove(key.0 as usize);
        if keys.length == 0 {
            self.occupied &= !(1 << bucket.0);
        }
        self.length -= 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The best node.
    #[inline]
    pub(super) fn first(&self) -> Option<(Bucket, NodeKey)> {
        let bucket = u8::try_from(self.occupied.trailing_zeros()).ok()?;
        let key = self.buckets.get(usize::from(bucket))?.first()?;
        Some((Bucket(bucket), node_key(key)))
    }

    /// The best node and the worst, if only the best has room.
    #[inline]
    pub(super) fn extremes(&self) -> Option<(NodeKey, NodeKey)> {
        const ROOM: u64 = (1 << ROOM_BUCKETS) - 1;
        if self.occupied & ROOM == 0 || self.occupied & !ROOM == 0 {
            return None;
        }
        Some((self.first()?.1, self.last()?.1))
    }

    /// The worst.
    #[inline]
    fn last(&self) -> Option<(Bucket, NodeKey)> {
        let bucket = u8::try_from(self.occupied.checked_ilog2()?).ok()?;
        let key = self.buckets.get(usize::from(bucket))?.last()?;
        Some((Bucket(bucket), node_key(key)))
    }

    /// All of them, best first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Bucket, NodeKey)> {
        (0..)
            .zip(&self.buckets)
            .flat_map(|(bucket, keys)| keys.iter().map(move |key| (Bucket(bucket), node_key(key))))
    }
}

#[inline]
fn node_key(index: usize) -> NodeKey {
    NodeKey(u32::try_from(index).expect("it was one when it was inserted"))
}

const WORD: usize = u64::BITS as usize;

/// A set of small numbers: a bit for each, and above these a bit for each word that has some.
#[derive(Debug, Default)]
struct Keys {
    words: Vec<u64>,
    summary: Vec<u64>,
    length: usize,
}

impl Keys {
    #[inline]
    fn insert(&mut self, key: usize) {
        let word = key / WORD;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
            self.summary.resize(word / WORD + 1, 0);
        }
        self.words[word] |= 1 << (key % WORD);
        self.summary[word / WORD] |= 1 << (word % WORD);
        self.length += 1;
    }

    #[inline]
    fn remove(&mut self, key: usize) {
        let word = key / WORD;
        self.words[word] &= !(1 << (key % WORD));
        if self.words[word] == 0 {
            self.summary[word / WORD] &= !(1 << (word % WORD));
        }
        self.length -= 1;
    }

    #[inline]
    fn first(&self) -> Option<usize> {
        let (index, bits) = (0..).zip(&self.summary).find(|(_, bits)| **bits != 0)?;
        let word: usize = index * WORD + bits.trailing_zeros() as usize;
        Some(word * WORD + self.words[word].trailing_zeros() as usize)
    }

    #[inline]
    fn last(&self) -> Option<usize> {
        let index = self.summary.iter().rposition(|bits| *bits != 0)?;
        let word = index * WORD + self.summary[index].checked_ilog2()? as usize;
        Some(word * WORD + self.words[word].checked_ilog2()? as usize)
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        self.words.iter().enumerate().filter(|(_, bits)| **bits != 0).flat_map(|(word, bits)| {
            (0..WORD).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| word * WORD + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::placement::BACKLOG;

    #[test]
    fn buckets_grow_with_what_is_in_use_and_then_with_what_waits() {
        let room: Vec<Bucket> = (0..=64).map(|used| Bucket::room(used, 64)).collect();
        let waiting: Vec<Bucket> = (0..60_000).step_by(8).map(Bucket::backlog).collect();
        assert!(room.is_sorted() && waiting.is_sorted() && room.last() < waiting.first());
        assert!(room.iter().all(|bucket| bucket.has_room()) && !waiting[0].has_room());
        let steps = |buckets: &[Bucket]| {
            let mut buckets: Vec<u8> = buckets.iter().map(|bucket| bucket.0).collect();
            buckets.dedup();
            buckets
        };
        let (room, waiting) = (steps(&room), steps(&waiting));
        assert_eq!(room, (0..ROOM_BUCKETS).collect::<Vec<_>>(), "no bucket is left out");
        assert_eq!(waiting, (ROOM_BUCKETS..64).collect::<Vec<_>>(), "no bucket is left out");
    }

    #[test]
    fn a_backlog_of_a_little_more_is_told_apart_below_the_limit() {
        let limit_us = u64::try_from(BACKLOG.as_micros()).expect("it is short");
        for load_us in (0..limit_us * 3 / 4).step_by(100) {
            let more_us = load_us + load_us / 4 + STEP_US;
            assert!(Bucket::backlog(load_us) < Bucket::backlog(more_us), "{load_us} {more_us}");
        }
    }

    #[test]
    fn nodes_come_out_in_order() {
        let mut order = Order::default();
        assert_eq!((order.first(), order.last(), order.is_empty()), (None, None, true));
        let nodes = [(7, 3), (1, 19_999), (1, 70), (0, 5_000), (63, 64), (63, 1)];
        for (bucket, key) in nodes {
            order.insert(Bucket(bucket), NodeKey(key));
        }
        let mut sorted: Vec<_> =
            nodes.iter().map(|&(bucket, key)| (Bucket(bucket), NodeKey(key))).collect();
        sorted.sort_unstable();
        assert_eq!(order.iter().collect::<Vec<_>>(), sorted);
        while let (Some(first), Some(last)) = (order.first(), order.last()) {
            assert_eq!((Some(&first), Some(&last)), (sorted.first(), sorted.last()));
            order.remove(last.0, last.1);
            sorted.pop();
        }
        assert!(sorted.is_empty() && order.is_empty());
    }
}
