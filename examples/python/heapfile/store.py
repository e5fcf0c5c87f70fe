"""Stores: named tables of byte strings (FORMAT.md, "Store")."""

import struct
from typing import Iterator, Tuple, Union

from .collections import HashMap, OrderedMap, header
from .heap import Heap
from .image import need, text

Table = Union[HashMap, OrderedMap]
ORDERED, HASHED = 1, 2


def tables(heap: Heap) -> Iterator[Tuple[str, Table]]:
    """The tables, in the order of their names; none if the arena has no store."""
    root = next((root for root in heap.roots() if root.name == "store"), None)
    if root is None:
        return
    block = header(heap, root.offset, b"Store\0\0\1", 32)
    (names,) = struct.unpack_from("<Q", block, 16)
    for name, value in OrderedMap(heap, names):
        need(len(value) == 16, names, "what a store says of a table")
        kind, handle = struct.unpack("<QQ", value)
        need(kind in (ORDERED, HASHED), names, "of what kind a table is")
        yield text(name, names, "the name of a table"), OrderedMap(heap, handle) if kind == ORDERED else HashMap(heap, handle)


def entries(heap: Heap) -> Iterator[Tuple[str, bytes, bytes]]:
    """All entries of all tables: table, key, value."""
    for name, table in tables(heap):
        for key, value in table:
            yield name, key, value
