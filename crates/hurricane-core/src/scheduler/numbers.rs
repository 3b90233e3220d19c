//! The numbers a client gave to its tasks and objects, and what they stand for.
//!
//! Numbers are dense and mostly go in the order they came, so they lie in pages: one look finds an
//! entry, and one old task that is still there keeps its page and not all that came since.

use std::collections::VecDeque;

use crate::id::{Number, TaskId};

/// How many numbers a page is for.
const PAGE: u64 = PAGE_LENGTH as u64;

const PAGE_LENGTH: usize = 256;

/// No task: the last name of the last entry there could be.
const NOTHING: TaskId = TaskId(u64::MAX);

/// What a client's numbers stand for.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pages: VecDeque<Option<Box<Page>>>,
    first_page: u64,
    last: u64,
    length: usize,
}

#[derive(Debug)]
struct Page {
    /// [`NOTHING`] where a number stands for nothing any more, or never did.
    tasks: [TaskId; PAGE_LENGTH],
    length: u32,
}

impl Numbers {
    /// Whether a client may use `number` next: they grow.
    #[inline]
    pub(super) fn is_next(&self, number: Number) -> bool {
        // Leaving a page of numbers out at a time costs eight bytes: a client that skips more
        // would make the table grow without paying for it.
        number.0 > self.last && number.0 - self.last <= PAGE
    }

    /// Lets `number`, which [`Self::is_next`], stand for `task`.
    #[inline]
    pub(super) fn insert(&mut self, number: Number, task: TaskId) {
        self.last = number.0;
        self.length += 1;
        let page = number.0 / PAGE;
        if self.pages.is_empty() {
            self.first_page = page;
        }
        while self.first_page + self.pages.len() as u64 <= page {
            self.pages.push_back(None);
        }
        let page = self.pages.back_mut().expect("one was pushed if there was none");
        let page =
            page.get_or_insert_with(|| Box::new(Page { tasks: [NOTHING; PAGE_LENGTH], length: 0 }));
        page.tasks[slot(number)] = task;
        page.length += 1;
    }

    #[inline]
    pub(super) fn get(&self, number: Number) -> Option<TaskId> {
        let page = self.pages.get(self.page(number)?)?.as_ref()?;
        known(page.tasks[slot(number)])
    }

    #[inline]
    pub(super) fn remove(&mut self, number: Number) -> Option<TaskId> {
        let index = self.page(number)?;
        let entry = self.pages.get_mut(index)?;
        let page = entry.as_mut()?;
        let task = core::mem::replace(&mut page.tasks[slot(number)], NOTHING);
        let task = known(task)?;
        page.length -= 1;
        self.length -= 1;
        if page.length == 0 {
            *entry = None;
        }
        while matches!(self.pages.front(), Some(None)) {
            self.pages.pop_front();
            self.first_page += 1;
        }
        Some(task)
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// All of them, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, TaskId)> {
        let pages = self.pages.iter().enumerate();
        pages.filter_map(|(index, page)| Some((index, page.as_ref()?))).flat_map(
            move |(index, page)| {
                let start = (self.first_page + index as u64) * PAGE;
                let slots = page.tasks.iter().zip(start..);
                slots.filter_map(|(task, number)| Some((Number(number), known(*task)?)))
            },
        )
    }

    #[inline]
    fn page(&self, number: Number) -> Option<usize> {
        usize::try_from((number.0 / PAGE).checked_sub(self.first_page)?).ok()
    }
}

#[inline]
fn known(task: TaskId) -> Option<TaskId> {
    (task != NOTHING).then_some(task)
}

#[inline]
fn slot(number: Number) -> usize {
    usize::try_from(number.0 % PAGE).expect("a page is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_tasks_until_removed() {
        let mut numbers = Numbers::default();
        for number in 1..=1_000 {
            assert!(numbers.is_next(Number(number)));
            numbers.insert(Number(number), TaskId(number * 10));
        }
        assert!(!numbers.is_next(Number(1_000)) && !numbers.is_next(Number(2_000)));
        for number in (1..=1_000).filter(|number| number % 400 != 0) {
            assert_eq!(numbers.remove(Number(number)), Some(TaskId(number * 10)));
        }
        assert_eq!((numbers.get(Number(1)), numbers.remove(Number(1))), (None, None));
        let left = [(Number(400), TaskId(4_000)), (Number(800), TaskId(8_000))];
        assert_eq!((numbers.iter().collect::<Vec<_>>(), numbers.len()), (left.to_vec(), 2));
    }
}
