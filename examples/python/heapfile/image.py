"""The bytes of a file, and what may be wrong with them (FORMAT.md, "Conventions")."""

import struct
import zlib
from typing import Tuple

PAGE = 4096


class ArenaError(Exception):
    """Why an arena cannot be read."""


class NotAnArena(ArenaError):
    """The file is none, is not finished, or of another version or byte order."""


class InUse(ArenaError):
    """Somebody has the file open for writing."""


class Unsynced(ArenaError):
    """The machine went down with a `Process` arena that was not synced: the heap may be torn."""


class Damaged(ArenaError):
    """The file contradicts its format."""

    def __init__(self, offset: int, what: str):
        super().__init__(f"damaged at {offset:#x}: {what}")
        self.offset = offset


def need(condition: object, offset: int, what: str) -> None:
    """What the format says of the bytes at `offset`."""
    if not condition:
        raise Damaged(offset, what)


class Image:
    """A buffer in which every access is checked."""

    def __init__(self, buffer: memoryview):
        self.buffer = buffer

    def __len__(self) -> int:
        return len(self.buffer)

    def view(self, at: int, size: int) -> memoryview:
        need(0 <= at and at + size <= len(self.buffer), at, f"{size} bytes are outside the file")
        return self.buffer[at : at + size]

    def bytes(self, at: int, size: int) -> bytes:
        return bytes(self.view(at, size))

    def unpack(self, layout: str, at: int) -> Tuple:
        return struct.unpack(layout, self.view(at, struct.calcsize(layout)))

    def u32(self, at: int) -> int:
        return int.from_bytes(self.view(at, 4), "little")

    def u64(self, at: int) -> int:
        return int.from_bytes(self.view(at, 8), "little")

    def is_zero(self, at: int, size: int) -> bool:
        step = 1 << 20
        pieces = (self.bytes(start, min(step, at + size - start)) for start in range(at, at + size, step))
        return not any(piece.strip(b"\0") for piece in pieces)

    def is_sealed(self, at: int, size: int) -> bool:
        """Whether the last four of these bytes are the CRC of those before them."""
        return zlib.crc32(self.view(at, size - 4)) == self.u32(at + size - 4)


def text(content: bytes, at: int, what: str) -> str:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        raise Damaged(at, f"{what} is not UTF-8") from None
