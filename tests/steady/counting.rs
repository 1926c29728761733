//! The allocator of this program, which counts what one thread asks of it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use nix::unistd::gettid;

use crate::harness::WORKER;

/// The thread that is watched; 0 for none.
static WATCHED: AtomicI32 = AtomicI32::new(0);

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Allocations of which the output tells where they came from.
const TRACES: u64 = 3;

thread_local! {
    // Without destructors, so that the allocator may look at them whenever it is called.
    static THREAD: Cell<i32> = const { Cell::new(0) };
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

impl Counting {
    fn count(len: usize) {
        let watched = WATCHED.load(Ordering::Relaxed);
        if watched == 0 || TRACING.get() {
            return;
        }
        if THREAD.get() == 0 {
            THREAD.set(gettid().as_raw());
        }
        if THREAD.get() == watched && ALLOCATIONS.fetch_add(1, Ordering::Relaxed) < TRACES {
            // What that allocates itself does not count.
            TRACING.set(true);
            eprintln!("{len} bytes were allocated here:\n{}", Backtrace::force_capture());
            TRACING.set(false);
        }
    }
}

// SAFETY: every call goes to `System` unchanged, which keeps the contract; counting touches no memory of
// the allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size());
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(size);
        // SAFETY: the pointer came from here with this layout, so from `System`; the caller answers for `size`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from here with this layout, so from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what the one worker of this process allocates, from its beginning to its end.
pub(crate) struct Watch;

impl Watch {
    pub(crate) fn begin() -> Self {
        let workers: Vec<i32> = fs::read_dir("/proc/self/task")
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim() == WORKER)
            })
            .map(|entry| entry.file_name().to_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(workers.len(), 1, "{workers:?}");
        ALLOCATIONS.store(0, Ordering::Relaxed);
        WATCHED.store(workers[0], Ordering::Relaxed);
        Self
    }

    /// How often it did.
    pub(crate) fn end(self) -> u64 {
        ALLOCATIONS.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        WATCHED.store(0, Ordering::Relaxed);
    }
}
