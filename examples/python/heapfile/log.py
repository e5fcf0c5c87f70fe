"""What is not applied yet (FORMAT.md, "Checkpoint slots", "Log ring", "Recovery", "Intent area")."""

import struct
import zlib
from typing import List, NamedTuple, Optional, Tuple

from .image import PAGE, Damaged, Image, need

COMMIT, VOID, SPILLED = 1, 2, 3
Span = Tuple[int, int]
Write = Tuple[int, bytes]


class Slot(NamedTuple):
    """A checkpoint slot: from where the log has to be replayed."""

    generation: int
    tail: int
    sequence: int
    seed: int
    ring: int
    ring_pages: int

    @property
    def length(self) -> int:
        return PAGE * self.ring_pages


class Cursor(NamedTuple):
    """What the next record has to be."""

    position: int
    sequence: int
    seed: int


class Header(NamedTuple):
    """Header of a record."""

    magic: bytes
    kind: int
    sequence: int
    position: int
    words: int
    ranges: int
    writes: int
    end: int
    spill: int
    seed: int
    crc: int

    def takes(self) -> int:
        return 64 if self.kind == SPILLED else 64 + 8 * self.words


class Body:
    """Ranges and writes of a commit, as offsets ("Body of a record")."""

    def __init__(self, image: Image, at: int, words: int, ranges: int, writes: int, span: Span):
        content = image.bytes(at, 8 * words)
        first, end = span
        need(ranges + 2 * writes <= words, at, "a record's body is too short for what it says")
        self.ranges: List[Span] = []
        self.writes: List[Write] = []
        for page, pages in struct.iter_unpack("<II", content[: 8 * ranges]):
            need(first <= page and page + pages <= end, at, "a range of a record outside the heap")
            self.ranges.append((PAGE * page, PAGE * (page + pages)))
        here = 8 * ranges
        for _ in range(writes):
            need(here + 8 <= len(content), at, "a record's writes are longer than its body")
            word = int.from_bytes(content[here : here + 8], "little")
            offset, size = (word >> 16) * 8, (word & 0xFFFF) * 8
            here += 8 + size
            need(size > 0 and here <= len(content), at, "the length of a record's write")
            need(PAGE * first <= offset and offset + size <= PAGE * end, at, "a write of a record outside the heap")
            self.writes.append((offset, content[here - size : here]))
        need(here == len(content), at, "a record's body is longer than its writes")


class Record(NamedTuple):
    """A valid record of the log."""

    header: Header
    at: int


class Log:
    """The log of a `Power` arena, from the tail of the slot that counts to the head."""

    def __init__(self, image: Image, heap: int, alignment: int, first_ring: Tuple[int, int]):
        self.image, self.heap, self.alignment = image, heap, alignment
        slots = [slot for slot in (self._slot(1, first_ring), self._slot(2, first_ring)) if slot]
        need(slots, PAGE, "no checkpoint slot is valid")
        self.slot = max(slots, key=lambda slot: slot.generation)
        ring_end = self.slot.ring + self.slot.ring_pages
        need(PAGE * ring_end <= len(image), PAGE, "the log lies outside the file")
        self.records, self.head = self._read()
        if len(slots) == 1 and self._has_seen_more():
            raise Damaged(PAGE, "the newer checkpoint slot: the log before it is overwritten")

    def _slot(self, page: int, first_ring: Tuple[int, int]) -> Optional[Slot]:
        at = PAGE * page
        magic, generation, tail, sequence, seed, ring, pages = self.image.unpack("<8s3Q3I", at)
        sane = max(generation, tail, sequence) < 1 << 62 and sequence > 0
        if magic != b"HFCHKPNT" or not sane or not self.image.is_sealed(at, 64):
            return None
        if (ring, pages) == (0, 0):
            ring, pages = first_ring
        else:
            need(16 <= pages <= 1 << 18 and ring >= self.heap, at, "where the log lies")
        return Slot(generation, tail, sequence, seed, ring, pages)

    def _up(self, position: int) -> int:
        return -(-position // self.alignment) * self.alignment

    def _header(self, at: int) -> Header:
        return Header(*self.image.unpack("<4sI3Q4I8xII", at))

    def _valid(self, expected: Cursor) -> Optional[Record]:
        """The record at a position, by the three rules of "Reading the ring"."""
        image, slot = self.image, self.slot
        inside = expected.position % slot.length
        at = PAGE * slot.ring + inside
        header = self._header(at)
        if header.magic != b"HFRC" or header.kind not in (COMMIT, VOID, SPILLED):
            return None
        if Cursor(header.position, header.sequence, header.seed) != expected:
            return None
        takes = header.takes()
        if takes > slot.length - inside or self._up(expected.position + takes) > slot.tail + slot.length:
            return None
        body = PAGE * header.spill if header.kind == SPILLED else at + 64
        size = 8 * header.words
        if body + size > len(image):
            return None
        crc = zlib.crc32(image.view(body, size), zlib.crc32(image.view(at, 60), header.seed))
        return Record(header, body) if crc == header.crc else None

    def _read(self) -> Tuple[List[Record], Cursor]:
        slot = self.slot
        here = Cursor(slot.tail, slot.sequence, slot.seed)
        records: List[Record] = []
        while here.position < slot.tail + slot.length:
            record = self._valid(here)
            if record is None and here.position % slot.length:
                lap = -(-here.position // slot.length) * slot.length
                record = self._valid(here._replace(position=lap))
            if record is None:
                break
            records.append(record)
            header = record.header
            here = Cursor(self._up(header.position + header.takes()), header.sequence + 1, header.crc)
        return records, here

    def _has_seen_more(self) -> bool:
        """Whether the ring holds what is behind the head ("The slot that counts")."""
        slot, head = self.slot, self.head
        start = PAGE * slot.ring
        for at in range(start, start + slot.length, 64):
            if self.image.view(at, 4) != b"HFRC":
                continue
            header = self._header(at)
            if header.position % slot.length != at - start or header.position < head.position:
                continue
            if header.sequence > head.sequence:
                return True
            here = Cursor(header.position, head.sequence, head.seed)
            if (header.sequence, header.seed) == here[1:] and (header.kind == SPILLED or self._valid(here)):
                return True
        return False

    def recover(self) -> None:
        """Applies what has to be, to the copy ("Recovery")."""
        followers = [record.header.kind for record in self.records[1:]] + [COMMIT]
        commits: List[Body] = []
        for (header, at), next_kind in zip(self.records, followers):
            if header.kind == VOID or next_kind == VOID:
                continue
            need(PAGE * header.end <= len(self.image), at, "the file was cut: a record needs more of it")
            span = (self.heap, header.end)
            commits.append(Body(self.image, at, header.words, header.ranges, header.writes, span))
        # From the last to the first, with the ranges of all that are later.
        later: List[Span] = []
        plan: List[List[Write]] = []
        for body in reversed(commits):
            plan.append([part for write in body.writes for part in outside(write, later)])
            if body.ranges:
                later = merged(later + body.ranges)
        for writes in reversed(plan):
            apply(self.image, writes)


class Intent:
    """The commit under way of a `Process` arena ("Intent area")."""

    def __init__(self, image: Image, heap: int, area: int, word: int):
        at = PAGE * (word >> 8 & 0xFFFFFFFF)
        need(word & 1 and (word & 2 or at == PAGE * area), 4 * PAGE + 136, "the intent word")
        _, words, ranges, writes, end = image.unpack("<QQIIQ", at)
        need(PAGE * end <= len(image), at, "the file was cut: its last commit needs more of it")
        need(at + 32 + 8 * words <= len(image), at, "the intent is outside the file")
        self.image = image
        self.body = Body(image, at + 32, words, ranges, writes, (heap, end))

    def recover(self) -> None:
        apply(self.image, self.body.writes)


def merged(ranges: List[Span]) -> List[Span]:
    """The same bytes, in order and without overlaps."""
    out: List[Span] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def outside(write: Write, ranges: List[Span]) -> List[Write]:
    """The parts of a write that lie in none of these, which are in order."""
    here, content = write
    end, start, parts = here + len(content), here, []
    for first, behind in ranges:
        if behind <= here:
            continue
        if first >= end:
            break
        if here < first:
            parts.append((here, content[here - start : first - start]))
        here = behind
    if here < end:
        parts.append((here, content[here - start :]))
    return parts


def apply(image: Image, writes: List[Write]) -> None:
    for at, content in writes:
        image.view(at, len(content))[:] = content
