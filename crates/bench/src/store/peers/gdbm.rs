//! GDBM, by its C interface. It has no transactions: a power cut or, in the middle of a call, a kill may tear its file. Where commits are to
//! be durable it is synced after each.
#![allow(unsafe_code, reason = "a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::store::kv::{Key, Kind, Kv, looked_at};
use crate::system::{Failure, Result};

#[repr(C)]
#[derive(Clone, Copy)]
struct Datum {
    at: *mut c_char,
    len: c_int,
}

#[link(name = "gdbm")]
unsafe extern "C" {
    static gdbm_version: *const c_char;
    fn gdbm_open(
        file: *const c_char,
        block: c_int,
        flags: c_int,
        mode: c_int,
        fatal: *const c_void,
    ) -> *mut c_void;
    fn gdbm_close(db: *mut c_void) -> c_int;
    fn gdbm_store(db: *mut c_void, key: Datum, value: Datum, flag: c_int) -> c_int;
    fn gdbm_fetch(db: *mut c_void, key: Datum) -> Datum;
    fn gdbm_sync(db: *mut c_void) -> c_int;
}

const WRITER_CREATES: c_int = 2;
const REPLACE: c_int = 1;

struct Gdbm {
    db: *mut c_void,
    durable: bool,
}

pub(super) fn version() -> String {
    // SAFETY: the library's constant, a string that ends with a zero byte.
    unsafe { CStr::from_ptr(gdbm_version) }.to_string_lossy().into_owned()
}

pub(super) fn open(dir: &Path, kind: Kind) -> Result<Box<dyn Kv>> {
    let file = CString::new(dir.join("store.gdbm").as_os_str().as_bytes())?;
    // SAFETY: the path ends with a zero byte; null as the last argument is allowed.
    let db = unsafe { gdbm_open(file.as_ptr(), 0, WRITER_CREATES, 0o600, std::ptr::null()) };
    if db.is_null() {
        return Err(Failure::new(format!("gdbm_open: {}", std::io::Error::last_os_error())));
    }
    Ok(Box::new(Gdbm { db, durable: kind == Kind::Power }))
}

fn datum(bytes: &[u8]) -> Datum {
    Datum { at: bytes.as_ptr().cast_mut().cast(), len: bytes.len() as c_int }
}

impl Gdbm {
    fn store(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        // SAFETY: the handle is open; both byte strings live, and are only read, during the call.
        let failed = unsafe { gdbm_store(self.db, datum(key), datum(value), REPLACE) };
        if failed == 0 { Ok(()) } else { Err(Failure::new("gdbm_store failed")) }
    }
}

impl Kv for Gdbm {
    fn get(&mut self, key: &Key) -> Result<Option<u64>> {
        // SAFETY: as in `store`.
        let value = unsafe { gdbm_fetch(self.db, datum(key)) };
        if value.at.is_null() {
            return Ok(None);
        }
        // SAFETY: gdbm_fetch returns a copy of so many bytes, made by malloc, that belongs to the caller; it is freed right after.
        let found = unsafe { looked_at(std::slice::from_raw_parts(value.at.cast(), value.len as usize)) };
        // SAFETY: see above.
        unsafe { libc::free(value.at.cast()) };
        Ok(found)
    }

    fn put(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        self.store(key, value)?;
        if self.durable { self.sync() } else { Ok(()) }
    }

    fn put_all(&mut self, entries: &mut dyn Iterator<Item = (Key, Vec<u8>)>) -> Result<()> {
        for (key, value) in entries {
            self.store(&key, &value)?;
        }
        if self.durable { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        // SAFETY: the handle is open.
        if unsafe { gdbm_sync(self.db) } == 0 { Ok(()) } else { Err(Failure::new("gdbm_sync failed")) }
    }
}

impl Drop for Gdbm {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and used no more.
        unsafe { gdbm_close(self.db) };
    }
}
