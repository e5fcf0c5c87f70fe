"""An arena: superblock, mark, who has it open (FORMAT.md, "Superblock", "Mark", "Runtime")."""

import fcntl
import mmap
import os
import struct
from types import TracebackType
from typing import NamedTuple, Optional, Type

from .image import PAGE, Image, InUse, NotAnArena, Unsynced, need
from .log import Intent, Log

POWER, PROCESS = 1, 2
MAGIC, BYTE_ORDER, OTHER_BYTE_ORDER, VERSION = b"HEAPFILE", 0x0A0B0C0D, 0x0D0C0B0A, 1
RUNTIME_PAGE, RUNTIME_PAGES, PROCESS_SLOTS, PROCESS_SLOT_BYTES = 4, 33, 256, 512
INTENT_WORD = PAGE * RUNTIME_PAGE + 136
# The last byte of page 4 and all process slots, which begin behind it.
HANDLES, HANDLES_BYTES = PAGE * (RUNTIME_PAGE + 1) - 1, 1 + PROCESS_SLOTS * PROCESS_SLOT_BYTES


class Superblock(NamedTuple):
    """Page 0, from byte 16 on."""

    identity: bytes
    durability: int
    alignment: int
    runtime: int
    runtime_pages: int
    intent: int
    intent_pages: int
    log: int
    log_pages: int
    heap: int
    process_slots: int

    @classmethod
    def read(cls, image: Image) -> "Superblock":
        """The six steps of the section "Superblock", in their order."""
        size = len(image)
        head = image.bytes(0, min(size, 96))
        begun = (MAGIC + struct.pack("<I", BYTE_ORDER)).ljust(96, b"\0")
        if size == 0 or (size >= 16 and head == begun[: len(head)]) or (size == 96 and not any(head)):
            raise NotAnArena("its creation was cut off; nothing was ever stored in it")
        if size < 16 or head[:8] != MAGIC:
            raise NotAnArena("it does not begin as an arena does")
        order, version = struct.unpack_from("<II", head, 8)
        if order == OTHER_BYTE_ORDER:
            raise NotAnArena("it was written with the other byte order")
        if order == BYTE_ORDER and version > VERSION:
            raise NotAnArena(f"it has format version {version}, and this reads {VERSION}")
        need(order == BYTE_ORDER, 8, "byte order")
        need(version == VERSION, 12, "format version 0")
        need(size >= 96, size, "truncated inside the superblock")
        need(image.is_sealed(0, 96), 0, "checksum of the superblock")
        block = cls(*struct.unpack_from("<16s10I", head, 16))
        need(block.is_consistent(), 32, "the regions do not follow each other")
        need(size >= PAGE * (block.heap + 1), size, "truncated before the heap")
        return block

    def is_consistent(self) -> bool:
        areas = (self.intent_pages == 0 and self.log_pages >= 16) if self.durability == POWER else (
            self.durability == PROCESS and self.intent_pages >= 1 and self.log_pages == 0)
        return (areas
                and (self.runtime, self.runtime_pages) == (RUNTIME_PAGE, RUNTIME_PAGES)
                and self.intent == self.runtime + self.runtime_pages
                and self.log == self.intent + self.intent_pages
                and self.heap == self.log + self.log_pages
                and self.process_slots == PROCESS_SLOTS
                and 64 <= self.alignment <= 4096
                and self.alignment & (self.alignment - 1) == 0)


class Mark(NamedTuple):
    """Page 3 of a `Process` arena."""

    changed: int
    boot: bytes
    sequence: int

    @classmethod
    def read(cls, image: Image) -> "Mark":
        at = 3 * PAGE
        magic, changed, boot, sequence = image.unpack("<8sI4x16sQ", at)
        sound = magic == b"HFMARK\0\0" and image.is_sealed(at, 64) and changed in (0, 1) and sequence < 1 << 62
        need(sound, at, "the mark")
        return cls(changed, boot, sequence)

    def may_be_torn(self) -> bool:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = bytes.fromhex(file.read().strip().replace("-", ""))
        return self.changed == 1 and self.boot != boot


class Arena:
    """A closed arena; others that open it wait until this is closed."""

    def __init__(self, path: str):
        self.path = path
        self.file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._take()
            self._read()
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """Nobody has it open for writing, and nobody will until the lock is released: the end of the section "Runtime"."""
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse("somebody has it open (its lock is taken)") from None
        layout = "hhqqi4x"
        question = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, HANDLES, HANDLES_BYTES, 0)
        kind, _, start, *_ = struct.unpack(layout, fcntl.fcntl(self.file, fcntl.F_OFD_GETLK, question))
        if kind != fcntl.F_UNLCK:
            raise InUse(f"somebody has it open (byte {start} is locked)")

    def _read(self) -> None:
        size = os.fstat(self.file).st_size
        # Private: what the log has yet to do is done in memory.
        content = mmap.mmap(self.file, size, access=mmap.ACCESS_COPY) if size else b""
        self.image = image = Image(memoryview(content))
        self.superblock = block = Superblock.read(image)
        # Records of the log since the checkpoint, or the commit under way of a `Process` arena.
        self.unfinished = 0
        self.mark: Optional[Mark] = None
        if block.durability == POWER:
            log = Log(image, block.heap, block.alignment, (block.log, block.log_pages))
            self.unfinished = len(log.records)
            log.recover()
            return
        self.mark = Mark.read(image)
        if self.mark.may_be_torn():
            raise Unsynced("it was not synced when the machine went down: `heapfile check` tells what is whole")
        word = image.u64(INTENT_WORD)
        if word:
            self.unfinished = 1
            Intent(image, block.heap, block.intent, word).recover()

    def close(self) -> None:
        """Releases the file. What was read stays."""
        if self.file >= 0:
            # The mapping has a descriptor of its own, which would keep the lock.
            fcntl.flock(self.file, fcntl.LOCK_UN)
            os.close(self.file)
            self.file = -1

    def __enter__(self) -> "Arena":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()
