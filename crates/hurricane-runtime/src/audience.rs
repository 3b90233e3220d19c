//! Who has asked an owner for its objects: the next ones who ask are sent to them, so that the owner
//! sends an object once, and nodes give it to each other. No thread, no socket, no clock.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use hurricane_core::id::{NodeId, ObjectId};
use hurricane_core::member::{Digest, Find, Found, MAX_OTHERS};

/// Smaller objects are sent to whoever asks: it costs less than to look elsewhere.
pub(crate) const MIN_SHARED_BYTES: usize = 4 << 20;

/// Of so many objects it is known who asked for them. Of others it is forgotten: they begin anew.
const MAX_OBJECTS: usize = 256;

/// So many nodes are known of each object: the last ones.
const MAX_NODES: usize = 64;

/// How much is reckoned of a digest for each question: a millisecond or two.
const SLICE_BYTES: usize = 4 << 20;

/// Of the objects of one owner, or one process of owners.
#[derive(Debug, Default)]
pub(crate) struct Audiences {
    of: BTreeMap<ObjectId, Audience>,
    /// The oldest first.
    order: VecDeque<ObjectId>,
}

impl Audiences {
    /// Answers a question for an object, of which these are the bytes, if it is here. Nodes that
    /// are not there any more are not named.
    pub(crate) fn find(
        &mut self,
        find: Find,
        bytes: Option<&Bytes>,
        is_there: impl Fn(NodeId) -> bool,
    ) -> Found {
        let request = find.request;
        let Some(bytes) = bytes.filter(|bytes| bytes.len() >= MIN_SHARED_BYTES) else {
            return Found { request, others: Vec::new(), digest: None };
        };
        let audience = self.of.entry(find.object).or_insert_with(|| {
            self.order.push_back(find.object);
            Audience::default()
        });
        let others = audience.others(find, is_there);
        let digest = if others.is_empty() { None } else { audience.reckoning.go_on(bytes) };
        if self.order.len() > MAX_OBJECTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
        Found { request, others, digest }
    }
}

/// Those who asked for one object. Each is sent to such as asked before it, so that nobody waits for
/// one that waits for it; who asks again keeps its place, for others may be waiting for it.
#[derive(Debug, Default)]
struct Audience {
    nodes: VecDeque<NodeId>,
    reckoning: Reckoning,
}

impl Audience {
    fn others(&mut self, find: Find, is_there: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
        let Find { asker, without, .. } = find;
        self.nodes.retain(|node| is_there(*node) || *node == asker);
        if let Some(failed) = without.and_then(|failed| self.place_of(failed))
            && self.place_of(asker).is_none_or(|own| failed < own)
        {
            self.nodes.remove(failed);
        }
        let place = self.place_of(asker).unwrap_or_else(|| {
            self.nodes.push_back(asker);
            self.nodes.len() - 1
        });
        let before = self.nodes.iter().take(place).rev().take(MAX_OTHERS);
        let others = before.copied().collect();
        if self.nodes.len() > MAX_NODES {
            self.nodes.pop_front();
        }
        others
    }

    fn place_of(&self, node: NodeId) -> Option<usize> {
        self.nodes.iter().position(|known| *known == node)
    }
}

/// A digest, reckoned bit by bit: nothing else happens meanwhile in the thread of the owner.
#[derive(Debug)]
enum Reckoning {
    Begun { hasher: Box<blake3::Hasher>, bytes: usize },
    Done(Digest),
}

impl Default for Reckoning {
    fn default() -> Self {
        Self::Begun { hasher: Box::default(), bytes: 0 }
    }
}

impl Reckoning {
    fn go_on(&mut self, whole: &Bytes) -> Option<Digest> {
        if let Self::Begun { hasher, bytes } = self {
            let end = whole.len().min(*bytes + SLICE_BYTES);
            hasher.update(&whole[*bytes..end]);
            *bytes = end;
            if end == whole.len() {
                *self = Self::Done(*hasher.finalize().as_bytes());
            }
        }
        match self {
            Self::Begun { .. } => None,
            Self::Done(digest) => Some(*digest),
        }
    }
}

#[cfg(test)]
mod tests {
    use hurricane_core::id::ObjectNumber;

    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);
    const D: NodeId = NodeId(4);

    fn object(number: u64) -> ObjectId {
        ObjectId { node: NodeId(9), number: ObjectNumber(number) }
    }

    fn large() -> Bytes {
        Bytes::from(vec![7; 2 * SLICE_BYTES + 1])
    }

    fn find(asker: NodeId, without: Option<NodeId>) -> Find {
        Find { request: 5, object: object(1), asker, without }
    }

    #[test]
    fn each_is_sent_to_those_who_asked_before() {
        // Who asks, whom it complains of, and whom it is sent to.
        let cases = [
            (A, None, vec![]),
            (B, None, vec![A]),
            (C, None, vec![B, A]),
            (D, None, vec![C, B]),
            // Again: others may be waiting for it, so nobody who came later can be named.
            (B, None, vec![A]),
            (A, None, vec![]),
            (D, None, vec![C, B]),
            // What is of no use to one is named to nobody, until it asks again.
            (D, Some(C), vec![B, A]),
            (C, None, vec![D, B]),
            // Nobody is put out by one that came earlier.
            (A, Some(D), vec![]),
            (C, None, vec![D, B]),
        ];
        let mut audiences = Audiences::default();
        for (number, (asker, without, others)) in cases.into_iter().enumerate() {
            let found = audiences.find(find(asker, without), Some(&large()), |_| true);
            assert_eq!(found.others, others, "case {number}");
        }
        let found = audiences.find(find(C, None), Some(&large()), |node| node != D);
        assert_eq!(found.others, [B, A], "one is gone");
    }

    #[test]
    fn the_digest_is_reckoned_bit_by_bit() {
        let mut audiences = Audiences::default();
        let whole = large();
        assert_eq!(audiences.find(find(A, None), Some(&whole), |_| true).digest, None);
        let mut digests = Vec::new();
        for asker in [B, C, B, C] {
            digests.push(audiences.find(find(asker, None), Some(&whole), |_| true).digest);
        }
        let digest = Some(*blake3::hash(&whole).as_bytes());
        assert_eq!(digests, [None, None, digest, digest]);
    }

    #[test]
    fn what_is_small_or_gone_is_had_from_the_owner() {
        let mut audiences = Audiences::default();
        let small = large().slice(..MIN_SHARED_BYTES - 1);
        for bytes in [Some(&small), None] {
            for asker in [A, B] {
                let found = audiences.find(find(asker, None), bytes, |_| true);
                assert_eq!(found, Found { request: 5, others: Vec::new(), digest: None });
            }
        }
        assert!(audiences.of.is_empty());
    }

    #[test]
    fn what_is_remembered_has_bounds() {
        let mut audiences = Audiences::default();
        let whole = large();
        for number in 0..2 * MAX_OBJECTS as u64 {
            let find = Find { object: object(number), ..find(A, None) };
            audiences.find(find, Some(&whole), |_| true);
        }
        assert_eq!((audiences.of.len(), audiences.order.len()), (MAX_OBJECTS, MAX_OBJECTS));
        for node in 10..1000 {
            audiences.find(find(NodeId(node), None), Some(&whole), |_| true);
        }
        assert_eq!(audiences.of[&object(1)].nodes.len(), MAX_NODES);
    }
}
