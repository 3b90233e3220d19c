//! Finds nodes by id, which each message from one needs: a table of keys in the order of a hash, for
//! a tree of thousands of nodes is a walk through memory that nothing else touches.

use std::collections::BTreeMap;

use crate::id::NodeId;
use crate::scheduler::node::NodeKey;

/// The least number of places.
const MIN_PLACES: usize = 64;

/// Places by the hash of an id. What stands there is a guess: nodes that are gone stay listed until
/// the table is made anew.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// As many as a power of two.
    places: Vec<Option<NodeKey>>,
    used: usize,
}

impl Directory {
    /// The table of these nodes, with room for as many again.
    pub(super) fn of(nodes: &BTreeMap<NodeId, NodeKey>) -> Self {
        let length = (4 * nodes.len()).next_power_of_two().max(MIN_PLACES);
        let mut directory = Self { places: vec![None; length], used: 0 };
        for (&id, &key) in nodes {
            let is_in = directory.insert(id, key);
            debug_assert!(is_in, "there is room for all");
        }
        directory
    }

    /// Lists a node. Returns whether there was room; if not, the table is to be made anew.
    pub(super) fn insert(&mut self, id: NodeId, key: NodeKey) -> bool {
        if 2 * self.used >= self.places.len() {
            return false;
        }
        let vacant = self.way(id).find(|place| self.places[*place].is_none());
        if let Some(place) = vacant {
            self.places[place] = Some(key);
            self.used += 1;
        }
        vacant.is_some()
    }

    /// The node of this id, which `is_it` tells from others.
    #[inline]
    pub(super) fn find(&self, id: NodeId, is_it: impl Fn(NodeKey) -> bool) -> Option<NodeKey> {
        self.way(id).map_while(|place| self.places[place]).find(|key| is_it(*key))
    }

    /// Where to look for an id, one place after the other.
    #[inline]
    fn way(&self, id: NodeId) -> impl Iterator<Item = usize> + use<> {
        // The upper half of a product depends on all bits of the id.
        let hash = id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let start = usize::try_from(hash).unwrap_or(0);
        let length = self.places.len();
        (0..length).map(move |step| start.wrapping_add(step) & (length - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_after_others_came_and_went() {
        let mut by_id = BTreeMap::new();
        let mut ids = vec![NodeId(0); 100];
        let mut directory = Directory::default();
        for round in 0..1_000_u64 {
            let key = NodeKey(u32::try_from(round % 100).expect("it is small"));
            let index = key.0 as usize;
            by_id.remove(&ids[index]);
            ids[index] = NodeId(round.wrapping_mul(round) << 20 | round);
            by_id.insert(ids[index], key);
            if !directory.insert(ids[index], key) {
                directory = Directory::of(&by_id);
            }
            for (&id, &key) in &by_id {
                let found = directory.find(id, |key| ids[key.0 as usize] == id);
                assert_eq!(found, Some(key), "{id} in round {round}");
            }
            assert_eq!(directory.find(NodeId(7), |_| false), None);
        }
    }
}
