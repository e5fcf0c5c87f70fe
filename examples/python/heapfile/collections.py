"""Collections: vector, text, list, hash map, ordered map (FORMAT.md, "Collections", "Ordered map and store").

Keys are their ordered bytes, elements and values the bytes that are stored; what they mean is the writer's.
"""

import struct
from typing import Iterator, List, NamedTuple, Optional, Set, Tuple, Union

from .heap import Heap
from .image import need

Entry = Tuple[bytes, bytes]
ANY_LENGTH = 0xFFFF
MASK = (1 << 64) - 1


def header(heap: Heap, handle: int, magic: bytes, size: int, align: int = 8) -> memoryview:
    """The header block of a collection."""
    block = heap.block(handle)
    sound = handle % align == 0 and len(block) == size and bytes(block[: len(magic)]) == magic
    need(sound, handle, f"there is no header of a {magic[:5].decode().rstrip(chr(0))}")
    return block


class Vector:
    """Also a text, which is a vector of bytes."""

    def __init__(self, heap: Heap, handle: int):
        block = header(heap, handle, b"Vect", 32)
        self.size, self.count, data, zero = struct.unpack_from("<4xIQQQ", block)
        need(zero == 0 and (data or self.count == 0), handle, "the header of a vector")
        content = heap.block(data) if data else memoryview(b"")
        need(self.size * self.count <= len(content), handle, "a vector is longer than its data block")
        self.content = content[: self.size * self.count]

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.content), self.size or 1):
            yield bytes(self.content[at : at + self.size])


class LinkedList:
    """A list, in order."""

    def __init__(self, heap: Heap, handle: int):
        self.heap, self.handle = heap, handle
        block = header(heap, handle, b"List", 32)
        self.size, self.count, self.first, self.last = struct.unpack_from("<4xIQQQ", block)

    def __iter__(self) -> Iterator[bytes]:
        before, at, count = 0, self.first, 0
        while at:
            node = self.heap.block(at)
            need(at % 8 == 0 and len(node) >= 16 + self.size, at, "a node of a list")
            previous, following = struct.unpack_from("<QQ", node)
            # So nothing is met twice, too: it would have two that it follows.
            need(previous == before, at, "a node of a list does not lead back")
            yield bytes(node[len(node) - self.size :])
            before, at, count = at, following, count + 1
        need((before, count) == (self.last, self.count), self.handle, "where a list ends")


def rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & MASK


def siphash_1_3(k0: int, k1: int, data: bytes) -> int:
    """SipHash with one round for each word and three at the end."""
    v0, v1, v2, v3 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def round_() -> None:
        nonlocal v0, v1, v2, v3
        v0, v2 = (v0 + v1) & MASK, (v2 + v3) & MASK
        v1, v3 = rotate(v1, 13) ^ v0, rotate(v3, 16) ^ v2
        v0, v2 = (rotate(v0, 32) + v3) & MASK, (v2 + v1) & MASK
        v1, v3 = rotate(v1, 17) ^ v2, rotate(v3, 21) ^ v0
        v2 = rotate(v2, 32)

    whole = len(data) // 8 * 8
    words = [word for (word,) in struct.iter_unpack("<Q", data[:whole])]
    for word in words + [int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56]:
        v3 ^= word
        round_()
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        round_()
    return v0 ^ v1 ^ v2 ^ v3


class HashMap:
    """Entries in no order. `align` is that of the type of values of any length, which is not stored: 1 in stores."""

    SEGMENTS = 32

    def __init__(self, heap: Heap, handle: int, align: int = 1):
        self.heap, self.handle, self.align = heap, handle, align
        block = header(heap, handle, b"Hash", 320, 64)
        self.key_size, self.value_size = struct.unpack_from("<HH", block, 4)
        self.count, self.buckets, self.k0, self.k1 = struct.unpack_from("<4Q", block, 8)
        need(4 <= self.buckets <= 1 << 33, handle, "buckets of a hash map")
        self.segments: List[int] = list(struct.unpack_from("<32Q", block, 64))
        needed = (self.buckets - 1 >> 2).bit_length() + 1
        for k, offset in enumerate(self.segments):
            need(offset or k >= needed, handle, f"segment {k} of a hash map is missing")
            need(offset == 0 or k <= needed, handle, f"segment {k} of a hash map is one too many")
            if offset:
                size = 64 * (4 if k == 0 else 4 << (k - 1))
                need(offset % 64 == 0 and len(heap.block(offset)) == size, offset, "a segment of a hash map")

    def __iter__(self) -> Iterator[Entry]:
        seen: Set[int] = set()
        count = 0
        for number in range(self.buckets):
            k = (number >> 2).bit_length()
            at = self.segments[k] + 64 * (number - (0 if k == 0 else 4 << (k - 1)))
            while at:
                *words, overflow = self.heap.image.unpack("<8Q", at)
                for word in filter(None, words):
                    yield self._entry(number, word)
                    count += 1
                at = overflow
                if at:
                    sound = at % 64 == 0 and at not in seen and len(self.heap.block(at)) == 64
                    need(sound, at, "an overflow block of a hash map")
                    seen.add(at)
        need(count == self.count, self.handle, f"a hash map of {self.count} entries has {count}")

    def _entry(self, bucket: int, word: int) -> Entry:
        offset = (word & (1 << 41) - 1) * 8
        block = self.heap.block(offset)
        start, key_size, padding = 0, self.key_size, 0
        if key_size == ANY_LENGTH:
            need(len(block) >= 8, offset, "an entry of a hash map is too short")
            lengths = int.from_bytes(block[:8], "little")
            start, key_size, padding = 8, lengths & (1 << 56) - 1, lengths >> 56
            need(padding <= 15, offset, "padding of an entry of a hash map")
        end = start + key_size
        if self.value_size == ANY_LENGTH:
            value = -(-end // self.align) * self.align + padding
        else:
            value = len(block) - self.value_size
        need(end <= value <= len(block), offset, "an entry of a hash map is too short")
        key = bytes(block[start:end])
        hashed = siphash_1_3(self.k0, self.k1, key)
        need(hashed >> 8 & (1 << 23) - 1 == word >> 41, offset, "the hash of an entry of a hash map")
        half = 1 << (self.buckets.bit_length() - 1)
        home = hashed % (2 * half)
        need((home if home < self.buckets else hashed % half) == bucket, offset, "an entry is in a wrong bucket")
        return key, bytes(block[value:])


class NodeSlot(NamedTuple):
    """A slot of a node of an ordered map, taken apart."""

    head: int
    key_is_block: int
    value_is_block: int
    start: int
    key_length: int
    value_length: int

    @classmethod
    def of(cls, word: int) -> "NodeSlot":
        return cls(word >> 32, word >> 31 & 1, word >> 30 & 1, (word >> 20 & 0x3FF) * 4, word >> 10 & 0x3FF, word & 0x3FF)


class OrderedMap:
    """Entries in the order of their keys."""

    HIGHEST = 24

    def __init__(self, heap: Heap, handle: int):
        self.heap, self.handle = heap, handle
        block = header(heap, handle, b"BTree\0\0\1", 32)
        self.root, self.count, self.height = struct.unpack_from("<QQQ", block, 8)
        empty = {self.root == 0, self.count == 0, self.height == 0}
        need(self.height <= self.HIGHEST and len(empty) == 1, handle, "the header of an ordered map")

    def __iter__(self) -> Iterator[Entry]:
        count, last = 0, None
        if self.root:
            for key, value in self._subtree(self.root, self.height - 1, set()):
                need(last is None or last < key, self.handle, "the keys of an ordered map do not rise")
                yield key, value
                count, last = count + 1, key
        need(count == self.count, self.handle, f"an ordered map of {self.count} entries has {count}")

    def _subtree(self, offset: int, level: int, seen: Set[int], low: bytes = b"", high: Optional[bytes] = None) -> Iterator[Entry]:
        """Entries below a node, all of whose keys are in `low..high`."""
        need(offset not in seen, offset, "a node of an ordered map is met twice")
        seen.add(offset)
        entries = self._node(offset, level)
        for number, (key, value) in enumerate(entries):
            if level == 0:
                need(low <= key and (high is None or key < high), offset, "a key is not below its node")
                yield key, value
                continue
            need(len(value) == 8, offset, "the child of a node of an ordered map")
            begin = key if number else low
            end = entries[number + 1][0] if number + 1 < len(entries) else high
            need(low <= begin and (end is None or begin < end), offset, "the keys of an inner node")
            yield from self._subtree(int.from_bytes(value, "little"), level - 1, seen, begin, end)

    def _node(self, offset: int, level: int) -> List[Entry]:
        block = self.heap.block(offset)
        sound = offset % 64 == 0 and len(block) % 64 == 0 and 128 <= len(block) <= 4096
        need(sound, offset, "there is no node of an ordered map")
        magic, own_level, count, low, _, prefix = struct.unpack_from("<BBHHHH", block)
        need((magic, own_level) == (0xB7, level) and count >= 1, offset, "the header of a node of an ordered map")
        need(16 + 8 * count <= low <= len(block), offset, "the entries of a node of an ordered map")
        return [self._entry(offset, block, NodeSlot.of(word), low, prefix, level > 0 and number == 0)
                for number, (word,) in enumerate(struct.iter_unpack("<Q", block[16 : 16 + 8 * count]))]

    def _entry(self, offset: int, block: memoryview, slot: NodeSlot, low: int, prefix: int, is_first: bool) -> Entry:
        middle = slot.start + slot.value_length
        end = middle + slot.key_length
        need(low <= slot.start and end <= len(block), offset, "an entry outside its node")
        value = self._part(offset, block[slot.start : middle], slot.value_is_block)
        key = self._part(offset, block[middle:end], slot.key_is_block)
        if is_first:
            need(key == b"" and slot.head == 0, offset, "the first key of an inner node")
        else:
            head = key[prefix : prefix + 4].ljust(4, b"\0")
            need(len(key) >= prefix and int.from_bytes(head, "big") == slot.head, offset, "the head of a key")
        return key, value

    def _part(self, offset: int, content: memoryview, is_block: int) -> bytes:
        """A key or value, in the entry or in a block of its own."""
        if not is_block:
            return bytes(content)
        need(len(content) == 8, offset, "the offset of a key or value")
        place = int.from_bytes(content, "little")
        need(place % 16 == 0, place, "a key or value in a block of its own")
        return bytes(self.heap.block(place))


Collection = Union[Vector, LinkedList, HashMap, OrderedMap]


def collection(heap: Heap, handle: int, align: int = 1) -> Collection:
    """Whatever collection this handle leads to."""
    magic = bytes(heap.block(handle)[:4])
    if magic == b"Hash":
        return HashMap(heap, handle, align)
    return {b"Vect": Vector, b"List": LinkedList}.get(magic, OrderedMap)(heap, handle)
