//! The numbers that a connection gave out and the scheduler still knows, and what they stand for.
//!
//! Numbers are given out one after the other, so they lie in pages: one look finds an entry, and an
//! old task that is still there keeps its page and not all that came since.

use std::array;
use std::collections::VecDeque;

use hurricane_core::id::Number;

/// How many numbers a page is for.
const PAGE: u64 = PAGE_LENGTH as u64;

const PAGE_LENGTH: usize = 256;

/// What a number stands for.
#[derive(Debug)]
pub(super) enum Entry<F> {
    /// A task that has not ended.
    Pending(F),
    /// A task whose result was stored.
    Stored(F),
    /// An object.
    Object,
}

/// What a connection's numbers stand for.
#[derive(Debug)]
pub(super) struct Live<F> {
    pages: VecDeque<Option<Box<Page<F>>>>,
    first_page: u64,
    pending: usize,
}

#[derive(Debug)]
struct Page<F> {
    entries: [Option<Entry<F>>; PAGE_LENGTH],
    length: u32,
}

impl<F> Default for Live<F> {
    fn default() -> Self {
        Self { pages: VecDeque::new(), first_page: 0, pending: 0 }
    }
}

impl<F> Live<F> {
    /// How many tasks have not ended.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Lets `number` stand for something. Each is larger than those before it.
    pub(super) fn insert(&mut self, number: Number, entry: Entry<F>) {
        let index = number.0 / PAGE;
        if self.pages.is_empty() {
            self.first_page = index;
        }
        while self.first_page + self.pages.len() as u64 <= index {
            self.pages.push_back(None);
        }
        self.pending += usize::from(matches!(entry, Entry::Pending(_)));
        let page = self.pages.back_mut().expect("one was pushed if there was none");
        let page = page.get_or_insert_with(|| Box::new(Page::default()));
        page.entries[slot(number)] = Some(entry);
        page.length += 1;
    }

    pub(super) fn get(&self, number: Number) -> Option<&Entry<F>> {
        self.pages.get(self.index(number)?)?.as_ref()?.entries[slot(number)].as_ref()
    }

    /// The task has ended, and its result was stored.
    pub(super) fn store(&mut self, number: Number) {
        let Some(index) = self.index(number) else { return };
        let Some(Some(page)) = self.pages.get_mut(index) else { return };
        let entry = &mut page.entries[slot(number)];
        if let Some(Entry::Pending(future)) = entry.take_if(|entry| entry.is_pending()) {
            *entry = Some(Entry::Stored(future));
            self.pending -= 1;
        }
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<Entry<F>> {
        let index = self.index(number)?;
        let place = self.pages.get_mut(index)?;
        let page = place.as_mut()?;
        let entry = page.entries[slot(number)].take()?;
        page.length -= 1;
        if page.length == 0 {
            *place = None;
        }
        while matches!(self.pages.front(), Some(None)) {
            self.pages.pop_front();
            self.first_page += 1;
        }
        self.pending -= usize::from(entry.is_pending());
        Some(entry)
    }

    /// All of them, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &Entry<F>)> {
        let pages = self.pages.iter().enumerate();
        pages.filter_map(|(index, page)| Some((index, page.as_ref()?))).flat_map(
            move |(index, page)| {
                let start = (self.first_page + index as u64) * PAGE;
                let entries = page.entries.iter().zip(start..);
                entries.filter_map(|(entry, number)| Some((Number(number), entry.as_ref()?)))
            },
        )
    }

    fn index(&self, number: Number) -> Option<usize> {
        usize::try_from((number.0 / PAGE).checked_sub(self.first_page)?).ok()
    }
}

impl<F> Default for Page<F> {
    fn default() -> Self {
        Self { entries: array::from_fn(|_| None), length: 0 }
    }
}

impl<F> Entry<F> {
    pub(super) fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }
}

fn slot(number: Number) -> usize {
    usize::try_from(number.0 % PAGE).expect("a page is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_something_until_removed() {
        let mut live = Live::default();
        for number in 1..=1_000 {
            live.insert(Number(number), Entry::Pending(number * 10));
        }
        live.store(Number(400));
        live.store(Number(400));
        assert_eq!(live.pending(), 999);
        for number in (1..=1_000).filter(|number| number % 400 != 0) {
            assert!(matches!(live.remove(Number(number)), Some(Entry::Pending(_))));
        }
        assert!(live.get(Number(1)).is_none() && live.remove(Number(1)).is_none());
        assert!(matches!(live.get(Number(400)), Some(Entry::Stored(4_000))));
        let left: Vec<u64> = live.iter().map(|(number, _)| number.0).collect();
        assert_eq!((left, live.pending()), (vec![400, 800], 1));
        live.insert(Number(1_001), Entry::Object);
        assert!(live.get(Number(5_000)).is_none());
    }
}
