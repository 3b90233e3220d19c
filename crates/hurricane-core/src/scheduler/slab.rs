//! Storage with names that are never used twice: an index to find an entry at once, and a
//! generation that tells a late message about a former entry from one about the present.

/// Entries by key.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
    length: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    entry: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), vacant: Vec::new(), length: 0 }
    }
}

impl<T> Slab<T> {
    /// Keeps `entry` and names it.
    #[inline]
    pub(super) fn insert(&mut self, entry: T) -> u64 {
        self.length += 1;
        if let Some(index) = self.vacant.pop() {
            let slot = &mut self.slots[index as usize];
            slot.entry = Some(entry);
            return key(slot.generation, index);
        }
        let index = u32::try_from(self.slots.len()).expect("allowances end far below 2^32 entries");
        self.slots.push(Slot { generation: 0, entry: Some(entry) });
        key(0, index)
    }

    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<&T> {
        let slot = self.slots.get(index(key))?;
        slot.entry.as_ref().filter(|_| slot.generation == generation(key))
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(index(key))?;
        slot.entry.as_mut().filter(|_| slot.generation == generation(key))
    }

    #[inline]
    pub(super) fn take(&mut self, key: u64) -> Option<T> {
        let slot = self.slots.get_mut(index(key))?;
        if slot.generation != generation(key) {
            return None;
        }
        let entry = slot.entry.take()?;
        self.length -= 1;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(index32(key));
        Some(entry)
    }

    /// Forgets an entry that is there, without moving it.
    #[inline]
    pub(super) fn remove(&mut self, key: u64) {
        let slot = self.slots.get_mut(index(key));
        let slot = slot.filter(|slot| slot.generation == generation(key) && slot.entry.is_some());
        if let Some(slot) = slot {
            slot.entry = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.length -= 1;
            self.vacant.push(index32(key));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// All entries, in the order of their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let index = u32::try_from(index).ok()?;
            Some((key(slot.generation, index), slot.entry.as_ref()?))
        })
    }
}

#[inline]
fn key(generation: u32, index: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

#[inline]
fn index32(key: u64) -> u32 {
    u32::try_from(key & u64::from(u32::MAX)).expect("the upper half is masked out")
}

#[inline]
fn index(key: u64) -> usize {
    index32(key) as usize
}

#[inline]
fn generation(key: u64) -> u32 {
    u32::try_from(key >> 32).expect("the lower half is shifted out")
}

#[cfg(test)]
mod tests {
    use super::Slab;

    #[test]
    fn a_former_entry_is_not_taken_for_the_present_one() {
        let mut slab = Slab::default();
        let first = slab.insert("first");
        assert_eq!(slab.take(first), Some("first"));
        let second = slab.insert("second");
        assert_ne!(first, second);
        assert_eq!(slab.get(first), None);
        slab.remove(first);
        assert_eq!(slab.take(first), None);
        assert_eq!((slab.get(second), slab.len()), (Some(&"second"), 1));
        slab.remove(second);
        assert_eq!((slab.get(second), slab.len()), (None, 0));
    }
}
