//! `arena`: up to 4 GiB of memory that programs reach by ordinary loads and stores, page by page.
//!
//! A pointer into an arena is a number of 32 bits to the program: the distance from a window of 4 GiB, at whose
//! multiple the window lies, so that the address in user space is the same number with the window's upper half.
//! All of the window is mapped and readable, with room around it for what an instruction's offset adds. A page that is
//! not allocated is never written, so that loads need no check and read zero there; stores ask a table with a byte a
//! page, which lies before the window, so that generated code needs one address only ([`layout`]). The kernel drops such
//! stores when they fault.
//!
//! In: [`MapDef`] (`max_entries` is the number of pages). Not here: what the casts between the two kinds of pointers do.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CreateError, Map, MapDef, MapError, MapFlags, MapState, UpdateFlags, ValuePtr};
use crate::mem::{Bytes, Slab};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of a window.
pub const WINDOW: u64 = 1 << 32;
/// Mapped bytes on both sides of a window: an instruction's offset of 16 bits reaches no further.
const GUARD: u64 = 1 << 16;
/// Bytes of the table: one for each page of window and guards, and rounded up to pages.
const TABLE: u64 = ((WINDOW + 2 * GUARD) / PAGE).next_multiple_of(PAGE);
/// Bytes before the window: the table, a page for stores that are dropped, the guard.
const BEFORE: u64 = TABLE + PAGE + GUARD;
/// The table's byte of the window's first page.
const FIRST_BYTE: u64 = GUARD / PAGE;

/// Distances from the window's first byte, as generated code adds them.
pub mod layout {
    use super::{BEFORE, FIRST_BYTE, GUARD, PAGE};

    /// The byte of page 0: 1 if it is allocated. That of page `n` (-16 and up) lies `n` bytes further.
    pub const PAGES: i32 = FIRST_BYTE as i32 - BEFORE as i32;
    /// A place where dropped stores go.
    pub const SINK: i32 = -((GUARD + PAGE) as i32);
    /// Shift from distances to pages.
    pub const PAGE_SHIFT: u32 = PAGE.trailing_zeros();
}

/// An `arena` map.
pub struct ArenaMap {
    state: MapState,
    memory: Slab,
    /// Distance of the first page from the window.
    start: u64,
    pages: Mutex<Pages>,
}

/// Which pages can be had.
#[derive(Default)]
struct Pages {
    /// Runs of free pages: first page to length and age.
    free: BTreeMap<u32, Run>,
    /// Counts changes.
    age: u64,
    /// By page: was allocated before, so that it may hold what somebody stored after it was freed.
    used: Vec<bool>,
}

/// Some free pages.
#[derive(Clone, Copy)]
struct Run {
    len: u32,
    age: u64,
}

impl ArenaMap {
    /// No page is allocated but those with initial contents. `def.extra` is the address of the first page, if it is not
    /// zero.
    ///
    /// # Errors
    /// [`CreateError::NoMemory`], also where that address is taken.
    pub(super) fn new(def: &MapDef, cpus: u32) -> Result<Self, CreateError> {
        let len = u64::from(def.max_entries) * PAGE;
        let wish = (def.extra != 0).then_some(def.extra & !(WINDOW - 1));
        let memory = Slab::window(BEFORE, WINDOW, GUARD, wish)
            .map_err(|error| CreateError::NoMemory { kind: def.kind, bytes: error.len })?;
        // A pointer with a lower half of zero is no pointer, so the first page is not there unless it must.
        let start = match wish {
            Some(_) => def.extra % WINDOW,
            None if len <= WINDOW - GUARD => GUARD,
            None => 0,
        };
        let pages = Pages { used: vec![false; def.max_entries as usize], ..Pages::default() };
        let map = Self { state: MapState::new(def, cpus), memory, start, pages: Mutex::new(pages) };
        map.lock().insert(0, def.max_entries);
        if let Some(initial) = &def.initial {
            // The definition was checked where it was read: it fits, or is cut off.
            let fits = initial.len().min(len as usize);
            let filled = map.write(map.first_page(), &initial[..fits]);
            debug_assert!(filled.is_ok(), "a new arena takes what fits");
        }
        Ok(map)
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Address of the window: a multiple of its size.
    #[must_use]
    pub fn window(&self) -> u64 {
        self.memory.address() + BEFORE
    }

    /// Address of the first page in user space.
    #[must_use]
    pub fn first_page(&self) -> u64 {
        self.window() + self.start
    }

    /// The slab that holds the window.
    #[must_use]
    pub fn memory(&self) -> &Slab {
        &self.memory
    }

    /// Offset in [`ArenaMap::memory`] of `len` bytes (at most a page) at a distance from the window, if they are
    /// allocated.
    #[must_use]
    pub fn place(&self, distance: i64, len: u64) -> Option<u64> {
        let offset = BEFORE.checked_add_signed(distance)?;
        let last = offset.checked_add(len.checked_sub(1)?)?;
        let page = |offset: u64| (offset - (BEFORE - GUARD)) / PAGE;
        let inside = offset >= BEFORE - GUARD && last < self.memory.len();
        let allocated = |offset| self.memory.bytes(page(offset), 1).byte(0) != 0;
        (inside && allocated(offset) && allocated(last)).then_some(offset)
    }

    /// The page at an address, of which only the lower half counts; numbers past the end are none of ours.
    fn page_at(&self, address: u64) -> u32 {
        (address as u32).wrapping_sub(self.start as u32) >> layout::PAGE_SHIFT
    }

    fn address_of(&self, page: u32) -> u64 {
        self.first_page() + u64::from(page) * PAGE
    }

    /// Marks pages in the table.
    fn mark(&self, page: u32, count: u32, allocated: bool) {
        let byte = FIRST_BYTE + self.start / PAGE + u64::from(page);
        self.memory.fill(byte, u64::from(count), u8::from(allocated));
    }

    /// `bpf_arena_alloc_pages`: takes pages at an address, or anywhere if it is zero, and gives the address of the first.
    pub fn allocate(&self, at: u64, count: u32) -> Option<u64> {
        let total = self.def().max_entries;
        let mut pages = self.lock();
        if count == 0 || count > total {
            return None;
        }
        let page = if at == 0 {
            pages.find(count)?
        } else {
            let page = self.page_at(at);
            if !at.is_multiple_of(PAGE) || page > total - count || !pages.is_free(page, count) {
                return None;
            }
            page
        };
        pages.remove(page, count);
        self.commit(&mut pages, page, count);
        Some(self.address_of(page))
    }

    fn commit(&self, pages: &mut Pages, page: u32, count: u32) {
        for number in page..page + count {
            if std::mem::replace(&mut pages.used[number as usize], true) {
                self.memory.discard(self.offset_of(number), PAGE);
            }
        }
        self.mark(page, count, true);
    }

    /// Offset of a page in the slab.
    fn offset_of(&self, page: u32) -> u64 {
        BEFORE + self.start + u64::from(page) * PAGE
    }

    /// `bpf_arena_free_pages`: gives pages back, as far as they are in the arena. They read as zero.
    pub fn free(&self, at: u64, count: u32) {
        let total = self.def().max_entries;
        let page = self.page_at(at);
        let count = count.min(total.saturating_sub(page));
        if count == 0 {
            return;
        }
        let mut pages = self.lock();
        self.mark(page, count, false);
        self.memory.discard(self.offset_of(page), u64::from(count) * PAGE);
        pages.insert(page, count);
    }

    /// `bpf_arena_reserve_pages`: pages that nobody gets any more.
    ///
    /// # Errors
    /// [`MapError::Invalid`] past the end, [`MapError::Busy`] if some are taken.
    pub fn reserve(&self, at: u64, count: u32) -> Result<(), MapError> {
        if count == 0 {
            return Ok(());
        }
        let page = self.page_at(at);
        if u64::from(page) + u64::from(count) > u64::from(self.def().max_entries) {
            return Err(MapError::Invalid);
        }
        let mut pages = self.lock();
        if !pages.is_free(page, count) {
            return Err(MapError::Busy);
        }
        pages.remove(page, count);
        Ok(())
    }

    /// Reads as user space does through its mapping. `at` is a pointer as programs see it; its lower half counts.
    ///
    /// # Errors
    /// [`MapError::Invalid`] outside the arena, [`MapError::Permission`] where user space gets no page.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MapError> {
        let offset = self.touch(at, into.len() as u64)?;
        self.memory.read(offset, into);
        Ok(())
    }

    /// Writes as user space does through its mapping, as [`ArenaMap::read`].
    ///
    /// # Errors
    /// As [`ArenaMap::read`].
    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<(), MapError> {
        let offset = self.touch(at, bytes.len() as u64)?;
        self.memory.write(offset, bytes);
        Ok(())
    }

    /// Allocates the pages of a range that user space touches; its offset in the slab.
    fn touch(&self, at: u64, len: u64) -> Result<u64, MapError> {
        let distance = u64::from((at as u32).wrapping_sub(self.start as u32));
        let total = u64::from(self.def().max_entries) * PAGE;
        if distance.checked_add(len).is_none_or(|end| end > total) {
            return Err(MapError::Invalid);
        }
        let mut pages = self.lock();
        let (first, end) = (distance / PAGE, (distance + len).div_ceil(PAGE));
        for page in first..end {
            let page = page as u32; // at most 2^20
            if self.place((self.start + u64::from(page) * PAGE) as i64, 1).is_some() {
                continue;
            }
            // What is reserved is not for user space either.
            let refused = self.def().flags.contains(MapFlags::SEGV_ON_FAULT) || !pages.is_free(page, 1);
            if refused {
                return Err(MapError::Permission);
            }
            pages.remove(page, 1);
            self.commit(&mut pages, page, 1);
        }
        Ok(BEFORE + self.start + distance)
    }
}

impl Pages {
    /// A run that takes `count` pages: of the smallest that do the one that changed last, as in the kernel.
    fn find(&self, count: u32) -> Option<u32> {
        let fitting = self.free.iter().filter(|(_, run)| run.len >= count);
        fitting.min_by_key(|(_, run)| (run.len, std::cmp::Reverse(run.age))).map(|(&page, _)| page)
    }

    fn is_free(&self, page: u32, count: u32) -> bool {
        let run = self.free.range(..=page).next_back();
        run.is_some_and(|(&first, run)| first + run.len >= page + count)
    }

    fn put(&mut self, page: u32, len: u32) {
        self.age += 1;
        self.free.insert(page, Run { len, age: self.age });
    }

    /// Takes pages out, free or not.
    fn remove(&mut self, page: u32, count: u32) {
        let end = page + count;
        let overlapping: Vec<(u32, u32)> = self
            .free
            .range(..end)
            .map(|(&first, run)| (first, first + run.len))
            .filter(|&(_, run_end)| run_end > page)
            .collect();
        for (first, run_end) in overlapping {
            self.free.remove(&first);
            if first < page {
                self.put(first, page - first);
            }
            if run_end > end {
                self.put(end, run_end - end);
            }
        }
    }

    /// Puts pages back, free already or not.
    fn insert(&mut self, page: u32, count: u32) {
        self.remove(page, count);
        let (mut first, mut end) = (page, page + count);
        if let Some((&before, run)) = self.free.range(..page).next_back()
            && before + run.len == page
        {
            first = before;
        }
        if let Some(run) = self.free.remove(&end) {
            end += run.len;
        }
        self.free.remove(&first);
        self.put(first, end - first);
    }
}

impl Map for ArenaMap {
    fn state(&self) -> &MapState {
        &self.state
    }
    fn lookup(&self, _cpu: u32, _key: &[u8]) -> Option<ValuePtr> {
        None
    }
    fn update(&self, _cpu: u32, _key: &[u8], _value: Bytes<'_>, _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::OpNotSupported)
    }
    fn delete(&self, _key: &[u8]) -> Result<(), MapError> {
        Err(MapError::OpNotSupported)
    }
    fn next_key(&self, _key: Option<&[u8]>) -> Result<Vec<u8>, MapError> {
        Err(MapError::OpNotSupported)
    }
    fn read_value(&self, _key: &[u8], _flags: UpdateFlags) -> Result<Vec<u8>, MapError> {
        Err(MapError::Invalid)
    }
    fn write_value(&self, _key: &[u8], _value: &[u8], _flags: UpdateFlags) -> Result<(), MapError> {
        Err(MapError::OpNotSupported)
    }
    fn base(&self) -> Option<ValuePtr> {
        Some(ValuePtr(self.first_page()))
    }
    fn memory(&self, _address: u64) -> Option<&Slab> {
        None
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MapKind;

    fn arena(pages: u32, change: impl FnOnce(&mut MapDef)) -> ArenaMap {
        let mut def = MapDef::new("arena", MapKind::Arena, 0, 0, pages);
        def.flags = MapFlags::MMAPABLE;
        change(&mut def);
        ArenaMap::new(&def, 1).expect("address space")
    }

    /// The page at an address.
    fn page(arena: &ArenaMap, address: Option<u64>) -> Option<u64> {
        address.map(|address| (address - arena.first_page()) / PAGE)
    }

    #[test]
    fn pages_come_from_the_smallest_run_that_fits() {
        let arena = arena(10, |_| {});
        let at = |number: u64| arena.first_page() + number * PAGE;
        assert_eq!(page(&arena, arena.allocate(0, 1)), Some(0));
        assert_eq!(page(&arena, arena.allocate(at(3), 2)), Some(3));
        assert_eq!(page(&arena, arena.allocate(0, 1)), Some(1));
        assert_eq!(page(&arena, arena.allocate(0, 3)), Some(5));
        assert_eq!(arena.allocate(0, 3), None);
        assert_eq!(arena.allocate(at(3), 1), None);
        assert_eq!(arena.allocate(at(2) + 1, 1), None);
        assert_eq!(arena.allocate(0, 0), None);
        assert_eq!(arena.allocate(0, 11), None);
        arena.free(at(3), 2);
        assert_eq!(page(&arena, arena.allocate(at(2), 3)), Some(2));
        arena.free(at(8), 100);
        assert_eq!(page(&arena, arena.allocate(0, 2)), Some(8));
    }

    #[test]
    fn only_allocated_pages_have_a_place_and_freed_ones_are_zero_again() {
        let arena = arena(3, |_| {});
        let first = arena.first_page();
        let distance = |address: u64| (address - arena.window()) as i64;
        assert_eq!(arena.place(distance(first), 8), None);
        arena.allocate(first + PAGE, 1).expect("it is free");
        let place = arena.place(distance(first + PAGE), 8).expect("it is allocated");
        assert_eq!(arena.place(distance(first + PAGE) - 1, 2), None, "the page before is not there");
        assert_eq!(arena.place(distance(first + 2 * PAGE) - 1, 2), None, "the page behind is not there");
        assert!(arena.place(-(GUARD as i64) - 1, 1).is_none() && arena.place(i64::MIN, 1).is_none());
        assert!(arena.place((WINDOW + GUARD) as i64 - 1, 2).is_none());
        arena.memory().write(place, &[7; 8]);
        arena.free(first, 3);
        assert_eq!(arena.place(distance(first + PAGE), 8), None);
        assert_eq!(arena.memory().to_vec(place, 8), [0; 8]);
        // Somebody still holds a pointer and stores.
        arena.memory().write(place, &[9; 8]);
        arena.allocate(first + PAGE, 1).expect("it is free");
        assert_eq!(arena.memory().to_vec(place, 8), [0; 8]);
    }

    #[test]
    fn user_space_gets_pages_by_touching_them() {
        let arena = arena(4, |def| def.initial = Some(vec![1; PAGE as usize + 1].into()));
        let first = arena.first_page();
        let mut bytes = [9; 3];
        arena.read(first + PAGE - 1, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 1, 0]);
        assert_eq!(page(&arena, arena.allocate(0, 1)), Some(2));
        arena.reserve(first + 3 * PAGE, 1).unwrap();
        assert_eq!(arena.write(first + 4 * PAGE - 1, &[1]), Err(MapError::Permission));
        assert_eq!(arena.write(first + 4 * PAGE, &[1]), Err(MapError::Invalid));
        assert_eq!(arena.reserve(first, 1), Err(MapError::Busy));
        assert_eq!(arena.reserve(first + 3 * PAGE, 2), Err(MapError::Invalid));
    }

    #[test]
    fn an_arena_may_fill_its_window_and_lie_where_it_is_asked_to() {
        assert_eq!(arena(1 << 20, |_| {}).first_page() % WINDOW, 0);
        let at = 0x0000_6fff_0000_2000;
        let there = arena(2, |def| def.extra = at);
        assert_eq!((there.first_page(), there.allocate(0, 1)), (at, Some(at)));
        let mut def = MapDef::new("arena", MapKind::Arena, 0, 0, 2);
        def.extra = at;
        assert!(matches!(ArenaMap::new(&def, 1), Err(CreateError::NoMemory { .. })));
    }
}
