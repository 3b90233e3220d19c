//! Large arguments that were made objects: one that is equal to one that is still there is the same
//! object. Each is there until it was let go as often as it was given out, and the last task that
//! needs it has ended.
//!
//! Where memory is shared, to compare bytes takes less than to copy them; only those are compared of
//! which a sample is equal, each with the last such. Elsewhere they are known by their digest, which
//! takes less than to send them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use hurricane_core::id::Number;

/// So many pieces of an argument are looked at before it is compared.
const SAMPLES: usize = 64;

/// How large each is.
const SAMPLE_BYTES: usize = 16;

/// By what an argument is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    length: usize,
    digest: [u8; blake3::OUT_LEN],
}

impl Mark {
    /// Of a sample: whatever has it may be equal.
    pub(super) fn of_sample(argument: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let last = argument.len().saturating_sub(SAMPLE_BYTES);
        for sample in 0..=SAMPLES {
            let begin = last / SAMPLES * sample;
            hasher.update(&argument[begin..argument.len().min(begin + SAMPLE_BYTES)]);
        }
        hasher.update(&argument[last..]);
        Self { length: argument.len(), digest: *hasher.finalize().as_bytes() }
    }

    /// Of all of it: whatever has it is equal.
    pub(super) fn of_all(argument: &[u8]) -> Self {
        Self { length: argument.len(), digest: *blake3::hash(argument).as_bytes() }
    }
}

/// The bytes of an argument for as long as its store has them in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Content(Weak<Bytes>);

impl Content {
    /// Of a value; with what is to be used in its place.
    pub(super) fn of(value: Bytes) -> (Self, Bytes) {
        let value = Arc::new(value);
        (Self(Arc::downgrade(&value)), Bytes::from_owner(Owner(value)))
    }

    pub(super) fn is(&self, argument: &[u8]) -> bool {
        self.0.upgrade().is_some_and(|content| **content == *argument)
    }
}

struct Owner(Arc<Bytes>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The arguments that are there.
#[derive(Debug, Default)]
pub(super) struct Kept {
    arguments: HashMap<Number, Argument>,
    /// The last of each mark.
    by_mark: HashMap<Mark, Number>,
    /// Which of them tasks need that have not ended.
    needed: HashMap<Number, Vec<Number>>,
}

#[derive(Debug)]
struct Argument {
    mark: Mark,
    content: Content,
    /// By how many it was given out to and not let go, and by how many tasks.
    users: usize,
}

impl Kept {
    /// One that may be equal, given out to one more; not one of those beside which it is to stand.
    pub(super) fn find(&mut self, mark: &Mark, beside: &[Number]) -> Option<(Number, Content)> {
        let number = self.by_mark.get(mark).filter(|number| !beside.contains(number))?;
        let argument = self.arguments.get_mut(number)?;
        argument.users += 1;
        Some((*number, argument.content.clone()))
    }

    /// Another, given out to one.
    pub(super) fn insert(&mut self, number: Number, mark: Mark, content: Content) {
        self.arguments.insert(number, Argument { mark, content, users: 1 });
        self.by_mark.insert(mark, number);
    }

    /// A task was submitted that needs these, among others.
    pub(super) fn submitted(&mut self, task: Number, dependencies: &[Number]) {
        if self.arguments.is_empty() {
            return;
        }
        let mut needed = Vec::new();
        for dependency in dependencies {
            if let Some(argument) = self.arguments.get_mut(dependency) {
                argument.users += 1;
                needed.push(*dependency);
            }
        }
        if !needed.is_empty() {
            self.needed.insert(task, needed);
        }
    }

    /// A task has ended: which arguments nobody needs any more.
    pub(super) fn ended(&mut self, task: Number) -> Vec<Number> {
        if self.needed.is_empty() {
            return Vec::new();
        }
        let mut needed = self.needed.remove(&task).unwrap_or_default();
        needed.retain(|number| self.let_go(*number) == Some(true));
        needed
    }

    /// Somebody needs it no more; whether nobody does. None if it is no such argument.
    pub(super) fn let_go(&mut self, number: Number) -> Option<bool> {
        let argument = self.arguments.get_mut(&number)?;
        argument.users -= 1;
        if argument.users > 0 {
            return Some(false);
        }
        let mark = argument.mark;
        self.arguments.remove(&number);
        if self.by_mark.get(&mark) == Some(&number) {
            self.by_mark.remove(&mark);
        }
        Some(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Number = Number(1);
    const B: Number = Number(2);
    const TASK: Number = Number(3);

    fn kept(bytes: &'static [u8]) -> (Kept, Mark, Bytes) {
        let mut kept = Kept::default();
        let mark = Mark::of_sample(bytes);
        let (content, value) = Content::of(Bytes::from_static(bytes));
        kept.insert(A, mark, content);
        (kept, mark, value)
    }

    #[test]
    fn it_is_there_until_the_last_user_is_gone() {
        let (mut kept, mark, _value) = kept(b"argument");
        assert_eq!(kept.find(&mark, &[]).map(|(number, _)| number), Some(A));
        kept.submitted(TASK, &[B, A]);
        assert_eq!([kept.let_go(A), kept.let_go(A)], [Some(false); 2]);
        assert!(kept.find(&mark, &[A]).is_none(), "it stands there already");
        assert_eq!(kept.ended(TASK), [A]);
        assert!(kept.ended(TASK).is_empty());
        assert!(kept.find(&mark, &[]).is_none());
        assert_eq!(kept.let_go(A), None, "it is a number like any other");
        assert!(kept.arguments.is_empty() && kept.by_mark.is_empty() && kept.needed.is_empty());
    }

    #[test]
    fn what_replaced_another_outlives_it() {
        let (mut kept, mark, _value) = kept(b"argument");
        kept.insert(B, mark, Content::default());
        assert_eq!(kept.let_go(A), Some(true));
        assert_eq!(kept.find(&mark, &[]).map(|(number, _)| number), Some(B));
    }

    #[test]
    fn it_is_compared_for_as_long_as_it_is_in_memory() {
        let (mut kept, mark, value) = kept(b"argument");
        let (_, content) = kept.find(&mark, &[]).expect("it is there");
        assert!(content.is(b"argument") && !content.is(b"Argument"));
        drop(value);
        assert!(!content.is(b"argument"));
    }

    #[test]
    fn a_sample_is_of_all_of_it() {
        let argument = vec![0_u8; 1 << 20];
        let mark = Mark::of_sample(&argument);
        for place in [0, 15, (1 << 20) - 1] {
            let mut other = argument.clone();
            other[place] = 1;
            assert_ne!(Mark::of_sample(&other), mark, "{place}");
        }
        for length in [0, 1, SAMPLE_BYTES, SAMPLES, SAMPLES * SAMPLE_BYTES + 1] {
            assert_ne!(Mark::of_sample(&argument[..length]), mark);
        }
        // Whether all of it is equal is another question.
        let mut other = argument.clone();
        other[17] = 1;
        assert_eq!(Mark::of_sample(&other), mark);
        assert_ne!(Mark::of_all(&other), Mark::of_all(&argument));
    }
}
