//! The only unsafe code of the bench: peers behind a table of C functions, and what the C library knows of itself.
//!
//! Invariants, on which every block here rests:
//! - the table was filled by an adapter whose functions follow `adapters/adapter.h`, and its context is
//!   closed once, by `Drop`;
//! - a [`Block`] that reaches these functions came out of the same table and has not been freed: blocks are
//!   linear (see `system`) and a process of the bench opens one system;
//! - its bytes, from `base + at` for its length, are mapped for as long as the table lives, and nobody holds a reference
//!   to them.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::hint::black_box;
use std::path::Path;
use std::ptr;

use crate::system::{Block, Failure, Heap, Ops, Result, System};

type AllocFn = unsafe extern "C" fn(*mut c_void, u64) -> u64;
type FreeFn = unsafe extern "C" fn(*mut c_void, u64);
type StepFn = unsafe extern "C" fn(*mut c_void) -> c_int;
type SetRootFn = unsafe extern "C" fn(*mut c_void, u64) -> c_int;
type RootFn = unsafe extern "C" fn(*mut c_void) -> u64;
type CloseFn = unsafe extern "C" fn(*mut c_void);

/// `struct adapter` of `adapters/adapter.h`.
#[repr(C)]
struct Table {
    ctx: *mut c_void,
    base: *mut u8,
    alloc: Option<AllocFn>,
    free: Option<FreeFn>,
    tx_alloc: Option<AllocFn>,
    tx_free: Option<FreeFn>,
    begin: Option<StepFn>,
    commit: Option<StepFn>,
    set_root: Option<SetRootFn>,
    root: Option<RootFn>,
    close: Option<CloseFn>,
}

impl Table {
    const EMPTY: Self = Self {
        ctx: ptr::null_mut(),
        base: ptr::null_mut(),
        alloc: None,
        free: None,
        tx_alloc: None,
        tx_free: None,
        begin: None,
        commit: None,
        set_root: None,
        root: None,
        close: None,
    };
}

#[cfg(any(have_boost, have_pmdk))]
type OpenFn = unsafe extern "C" fn(*mut Table, *const c_char, u64, *mut c_char, usize) -> c_int;

#[cfg(have_boost)]
unsafe extern "C" {
    fn boost_adapter_version() -> *const c_char;
    fn boost_adapter_open(
        out: *mut Table,
        path: *const c_char,
        size: u64,
        why: *mut c_char,
        n: usize,
    ) -> c_int;
    fn boost_one_lock_adapter_open(
        out: *mut Table,
        path: *const c_char,
        size: u64,
        why: *mut c_char,
        n: usize,
    ) -> c_int;
}

#[cfg(have_pmdk)]
unsafe extern "C" {
    fn pmdk_adapter_version() -> *const c_char;
    fn pmdk_adapter_open(
        out: *mut Table,
        path: *const c_char,
        size: u64,
        why: *mut c_char,
        n: usize,
    ) -> c_int;
}

/// A peer behind a table of C functions.
pub(crate) struct Foreign {
    table: Table,
    alloc: AllocFn,
    free: FreeFn,
    tx: Option<Tx>,
}

/// The second half of the table, of a peer with transactions.
#[derive(Clone, Copy)]
struct Tx {
    alloc: AllocFn,
    free: FreeFn,
    begin: StepFn,
    commit: StepFn,
}

// SAFETY: the header promises that all functions but `close` may be called by several threads at once; `close` is called by
// `Drop` alone, which has the value to itself.
unsafe impl Sync for Foreign {}

impl Foreign {
    /// Boost.Interprocess as everybody uses it.
    #[cfg(have_boost)]
    pub(crate) fn boost(path: &Path, size: u64) -> Result<Self> {
        Self::open(boost_adapter_open, path, size)
    }

    #[cfg(not(have_boost))]
    pub(crate) fn boost(_: &Path, _: u64) -> Result<Self> {
        Err(Failure::new(env!("HEAPFILE_BENCH_MISSING_BOOST")))
    }

    /// Boost.Interprocess without its own lock; a transaction is one lock held.
    #[cfg(have_boost)]
    pub(crate) fn boost_one_lock(path: &Path, size: u64) -> Result<Self> {
        Self::open(boost_one_lock_adapter_open, path, size)
    }

    #[cfg(not(have_boost))]
    pub(crate) fn boost_one_lock(path: &Path, size: u64) -> Result<Self> {
        Self::boost(path, size)
    }

    /// PMDK libpmemobj.
    #[cfg(have_pmdk)]
    pub(crate) fn pmdk(path: &Path, size: u64) -> Result<Self> {
        Self::open(pmdk_adapter_open, path, size)
    }

    #[cfg(not(have_pmdk))]
    pub(crate) fn pmdk(_: &Path, _: u64) -> Result<Self> {
        Err(Failure::new(env!("HEAPFILE_BENCH_MISSING_PMDK")))
    }

    /// Whatever `malloc` and `free` are in this process: glibc's, or a preloaded library's.
    pub(crate) fn malloc() -> Result<Self> {
        unsafe extern "C" fn alloc(_: *mut c_void, len: u64) -> u64 {
            // SAFETY: malloc takes any length.
            unsafe { libc::malloc(len as usize) as u64 }
        }
        unsafe extern "C" fn free(_: *mut c_void, at: u64) {
            // SAFETY: `at` came from malloc and is freed once (invariant of the module).
            unsafe { libc::free(at as *mut c_void) }
        }
        // black_box: otherwise the compiler knows the two functions and removes a pair of them.
        Self::new(Table { alloc: Some(black_box(alloc)), free: Some(black_box(free)), ..Table::EMPTY })
    }

    #[cfg(any(have_boost, have_pmdk))]
    fn open(open: OpenFn, path: &Path, size: u64) -> Result<Self> {
        use std::ffi::CString;
        use std::os::unix::ffi::OsStrExt;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut table = Table::EMPTY;
        let mut why = [0u8; 256];
        // SAFETY: `path` ends with NUL, `table` and `why` are ours to write, for the length given.
        let failed = unsafe { open(&mut table, path.as_ptr(), size, why.as_mut_ptr().cast(), why.len()) };
        if failed != 0 {
            let why = CStr::from_bytes_until_nul(&why).map_or_else(|_| "?".into(), CStr::to_string_lossy);
            return Err(Failure::new(why));
        }
        Self::new(table)
    }

    fn new(table: Table) -> Result<Self> {
        let (Some(alloc), Some(free)) = (table.alloc, table.free) else {
            return Err(Failure::new("an adapter without alloc or free"));
        };
        let tx = match (table.tx_alloc, table.tx_free, table.begin, table.commit) {
            (Some(alloc), Some(free), Some(begin), Some(commit)) => Some(Tx { alloc, free, begin, commit }),
            _ => None,
        };
        Ok(Self { table, alloc, free, tx })
    }

    /// Address of the byte `offset` of `block`.
    fn address(&self, block: &Block, offset: u32) -> *mut u8 {
        debug_assert!(offset < block.len());
        self.table.base.wrapping_add(block.at() as usize + offset as usize)
    }

    #[inline]
    fn touch(&self, block: &Block) {
        let tag = block.tag();
        // SAFETY: both addresses lie in the block's bytes, which are mapped and unborrowed (invariant of the module).
        unsafe {
            self.address(block, 0).write_volatile(tag);
            self.address(block, block.len() - 1).write_volatile(tag);
        }
    }

    fn ends(&self, block: &Block) -> [u8; 2] {
        // SAFETY: as in `touch`.
        unsafe {
            [self.address(block, 0).read_volatile(), self.address(block, block.len() - 1).read_volatile()]
        }
    }

    #[inline]
    fn block(at: u64, len: u32) -> Result<Block> {
        Block::new(at, len).ok_or_else(|| Failure::new(format!("no room for a block of {len} bytes")))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(close) = self.table.close {
            // SAFETY: the context is open, and nobody else can reach it any more.
            unsafe { close(self.table.ctx) }
        }
    }
}

impl System for Foreign {
    type Heap<'s> = ForeignHeap<'s>;

    fn heap(&self) -> ForeignHeap<'_> {
        ForeignHeap(self)
    }

    fn set_root(&self, block: &Block) -> Result<()> {
        let set_root = self.table.set_root.ok_or_else(|| Failure::new("has no root"))?;
        // SAFETY: the context is open.
        match unsafe { set_root(self.table.ctx, block.at()) } {
            0 => Ok(()),
            error => Err(Failure::new(format!("the root was not set: error {error}"))),
        }
    }

    fn read_root(&self) -> Result<u8> {
        let root = self.table.root.ok_or_else(|| Failure::new("has no root"))?;
        // SAFETY: the context is open.
        let at = unsafe { root(self.table.ctx) };
        Ok(self.ends(&Self::block(at, 1)?)[0])
    }
}

/// One thread's hand on a [`Foreign`].
pub(crate) struct ForeignHeap<'s>(&'s Foreign);

impl Ops for ForeignHeap<'_> {
    #[inline]
    fn alloc(&mut self, len: u32) -> Result<Block> {
        // SAFETY: the context is open.
        let at = unsafe { (self.0.alloc)(self.0.table.ctx, u64::from(len)) };
        Foreign::block(at, len)
    }

    #[inline]
    fn free(&mut self, block: Block) -> Result<()> {
        // SAFETY: the context is open, the block its own and live (invariant of the module).
        unsafe { (self.0.free)(self.0.table.ctx, block.at()) };
        Ok(())
    }

    #[inline]
    fn touch(&mut self, block: &Block) -> Result<()> {
        self.0.touch(block);
        Ok(())
    }

    fn ends(&mut self, block: &Block) -> Result<[u8; 2]> {
        Ok(self.0.ends(block))
    }
}

impl Heap for ForeignHeap<'_> {
    type Tx<'t>
        = ForeignTx<'t>
    where
        Self: 't;

    fn transacts(&self) -> bool {
        self.0.tx.is_some()
    }

    fn transaction<R>(&mut self, body: impl FnOnce(&mut ForeignTx<'_>) -> Result<R>) -> Result<R> {
        let tx = self.0.tx.ok_or_else(|| Failure::new("has no transactions"))?;
        let ctx = self.0.table.ctx;
        // SAFETY: the context is open; this thread is in no transaction, for the one it begins ends below.
        let begun = unsafe { (tx.begin)(ctx) };
        if begun != 0 {
            return Err(Failure::new(format!("a transaction did not begin: error {begun}")));
        }
        let result = body(&mut ForeignTx { foreign: self.0, tx });
        // SAFETY: as above; the transaction begun is this thread's.
        let ended = unsafe { (tx.commit)(ctx) };
        if ended != 0 && result.is_ok() {
            return Err(Failure::new(format!("a transaction did not commit: error {ended}")));
        }
        result
    }
}

/// A transaction of a [`Foreign`]: lives inside [`Heap::transaction`] only.
pub(crate) struct ForeignTx<'t> {
    foreign: &'t Foreign,
    tx: Tx,
}

impl Ops for ForeignTx<'_> {
    #[inline]
    fn alloc(&mut self, len: u32) -> Result<Block> {
        // SAFETY: the context is open, and this thread in a transaction of it.
        let at = unsafe { (self.tx.alloc)(self.foreign.table.ctx, u64::from(len)) };
        Foreign::block(at, len)
    }

    #[inline]
    fn free(&mut self, block: Block) -> Result<()> {
        // SAFETY: as in `alloc`; the block is its own and live (invariant of the module).
        unsafe { (self.tx.free)(self.foreign.table.ctx, block.at()) };
        Ok(())
    }

    #[inline]
    fn touch(&mut self, block: &Block) -> Result<()> {
        self.foreign.touch(block);
        Ok(())
    }

    fn ends(&mut self, block: &Block) -> Result<[u8; 2]> {
        Ok(self.foreign.ends(block))
    }
}

/// Version of Boost, if it was there at build time.
#[cfg(have_boost)]
pub(crate) fn boost_version() -> Result<String> {
    // SAFETY: returns a static string.
    Ok(unsafe { CStr::from_ptr(boost_adapter_version()) }.to_string_lossy().into_owned())
}

#[cfg(not(have_boost))]
pub(crate) fn boost_version() -> Result<String> {
    Err(Failure::new(env!("HEAPFILE_BENCH_MISSING_BOOST")))
}

/// Version of libpmemobj's interface, if it was there at build time.
#[cfg(have_pmdk)]
pub(crate) fn pmdk_version() -> Result<String> {
    // SAFETY: returns a static string.
    Ok(unsafe { CStr::from_ptr(pmdk_adapter_version()) }.to_string_lossy().into_owned())
}

#[cfg(not(have_pmdk))]
pub(crate) fn pmdk_version() -> Result<String> {
    Err(Failure::new(env!("HEAPFILE_BENCH_MISSING_PMDK")))
}

/// glibc's version.
pub(crate) fn libc_version() -> String {
    // SAFETY: returns a static string.
    unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy().into_owned()
}

/// mimalloc's version, if it is what `malloc` is in this process.
pub(crate) fn mimalloc_version() -> Option<String> {
    let symbol = symbol(c"mi_version")?;
    // SAFETY: mimalloc.h: `int mi_version(void)`.
    let mi_version = unsafe { std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(symbol) };
    let version = mi_version();
    Some(format!("{}.{}.{}", version / 100, version / 10 % 10, version % 10))
}

/// jemalloc's version, if it is what `malloc` is in this process.
pub(crate) fn jemalloc_version() -> Option<String> {
    type Mallctl = unsafe extern "C" fn(*const c_char, *mut c_void, *mut usize, *mut c_void, usize) -> c_int;
    let symbol = symbol(c"mallctl")?;
    // SAFETY: jemalloc.h declares `mallctl` so.
    let mallctl = unsafe { std::mem::transmute::<*mut c_void, Mallctl>(symbol) };
    let mut text: *const c_char = ptr::null();
    let mut size = size_of_val(&text);
    // SAFETY: "version" is a `const char *`; `text` has room for it.
    let error =
        unsafe { mallctl(c"version".as_ptr(), (&raw mut text).cast(), &raw mut size, ptr::null_mut(), 0) };
    // SAFETY: jemalloc answered with a static string.
    (error == 0 && !text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// A symbol of a preloaded library, never null.
fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with NUL.
    let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!symbol.is_null()).then_some(symbol)
}
