"""The heap: page map, slabs, free tree, blocks, roots (FORMAT.md, "Heap", "Roots")."""

import struct
from typing import Dict, Iterator, List, NamedTuple, Set, Tuple

from .arena import Arena
from .image import PAGE, Damaged, need, text

BLOCK, SLAB, NODES, ARRAY, HEADER, LOG = 1, 2, 3, 4, 5, 6
CLASSES, ARRAYS = 72, 24
# An AVL tree of 2^32 nodes is no higher.
HIGHEST_TREE = 48


class Shape(NamedTuple):
    """How a slab of a class is divided ("Slabs")."""

    size: int
    width: int
    pages: int
    slots: int
    start: int


def shape_of(number: int, level: int) -> Shape:
    """The slab of shape `level` of class `number`."""
    doubling, step = divmod(number - 16, 8)
    size = 8 * (number + 1) if number < 16 else (128 << doubling) + (step + 1) * (16 << doubling)
    width = 1 if size <= 248 else 2
    align = min(size & -size, 256)

    def divide(pages: int) -> Tuple[int, int]:
        for slots in range(min((PAGE * pages - 16) // (size + width), 512), 0, -1):
            start = -(-(16 + 8 * -(-slots * width // 8)) // align) * align
            if start + slots * size <= PAGE * pages:
                return slots, start
        return 0, 0

    most = min(max(size * 32 // PAGE, 16), 64, (16 + 512 * (size + width)) // PAGE)
    least = next(pages for pages in range(1, 65) if divide(pages)[0] >= 2)
    high = max(most >> (3 - level), least)
    best, slots = 0, 0
    for pages in range(high // 2 + 1, high + 1):
        found = divide(pages)[0]
        if found >= 2 and (best == 0 or found * best > slots * pages):
            best, slots = pages, found
    return Shape(size, width, best, *divide(best))


SHAPES = [[shape_of(number, level) for level in range(4)] for number in range(CLASSES)]


class Block(NamedTuple):
    """Where a block is."""

    offset: int
    length: int


class Extent(NamedTuple):
    """A maximal range of free pages."""

    page: int
    pages: int


class Slab(NamedTuple):
    """What the header of a slab says of its class's list."""

    number: int
    listed: bool
    before: int
    after: int
    has_room: bool


class Root(NamedTuple):
    """A name, and the block that it leads to."""

    name: str
    type: str
    offset: int
    size: int
    align: int
    length: int


class Heap:
    """The heap of an arena, whose log is applied."""

    def __init__(self, arena: Arena):
        self.image = arena.image
        self.first = arena.superblock.heap
        self.at = at = PAGE * self.first
        need(self.image.bytes(at, 8) == b"heapfil1", at, "the heap's magic")
        self.words = self.image.unpack("<105Q", at)
        self.end = self.words[1] & 0xFFFFFFFF
        need(self.first < self.end and PAGE * self.end <= len(self.image), at + 8, "where the heap ends")
        self.arrays = self.words[8 : 8 + ARRAYS]
        last = next(k for k in range(ARRAYS + 1) if self.end - self.first <= 511 << k)
        for k, page in enumerate(self.arrays):
            inside = self.first < page and page + self.array_pages(k) <= self.end
            need(inside if k <= last else page == 0, at + 8 * (8 + k), f"array {k} of the page map")

    @staticmethod
    def array_pages(k: int) -> int:
        return 1 if k == 0 else 1 << (k - 1)

    def word_at(self, page: int) -> int:
        """Where the page map has the word of a page ("Page map")."""
        i = page - self.first
        k = (i >> 9).bit_length()
        return PAGE * self.arrays[k] + 8 * (i - (0 if k == 0 else 512 << (k - 1)))

    def word(self, page: int) -> int:
        return self.image.u64(self.word_at(page))

    def are_words_zero(self, page: int, pages: int) -> bool:
        """Whether the words of these pages are 0."""
        end = page + pages
        while page < end:
            i = page - self.first
            k = (i >> 9).bit_length()
            here = min(end, self.first + (512 << k)) - page
            if not self.image.is_zero(self.word_at(page), 8 * here):
                return False
            page += here
        return True

    # Finding a block by its offset

    def place(self, offset: int) -> Block:
        """The block that begins at an offset ("Finding a block by its offset")."""
        page = offset // PAGE
        need(self.first <= page < self.end, offset, "there is no block: it is outside the heap")
        word = self.word(page)
        if word & 15 == BLOCK:
            need(offset % PAGE == 0, offset, "there is no block: it is inside one")
            return self.long_block(page, word)
        need(word & 15 == SLAB, offset, "there is no block")
        slab = page - (word >> 32)
        need(self.first < slab and self.word(slab) == word & 0xFFFFFFFF, offset, "there is no block: no slab begins before")
        shape = self.shape(slab, word)
        slot, inside = divmod(offset - PAGE * slab - shape.start, shape.size)
        need(inside == 0 and 0 <= slot < shape.slots, offset, "there is no block: it is inside a slot")
        states = self.image.view(PAGE * slab + 16 + slot * shape.width, shape.width)
        state = int.from_bytes(states, "little")
        need(0 < state <= shape.size + 1, offset, "there is no block: the slot is free")
        return Block(offset, 1 + shape.size - state)

    def block(self, offset: int) -> memoryview:
        """The content of the block that begins at an offset."""
        return self.image.view(*self.place(offset))

    def long_block(self, page: int, word: int) -> Block:
        pages, slack = word >> 32, word >> 16 & 0xFFFF
        sound = pages >= 1 and page + pages <= self.end and (slack < PAGE or slack == PAGE and pages == 1)
        need(sound and word & 0xFFE0 == 0, self.word_at(page), "the word of a block")
        return Block(PAGE * page, PAGE * pages - slack)

    def shape(self, slab: int, word: int) -> Shape:
        number, level, pages = word >> 10 & 0x3FFF, word >> 8 & 3, word >> 24 & 0xFF
        need(number < CLASSES and word & 0xF0 == 0, self.word_at(slab), "the word of a slab")
        shape = SHAPES[number][level]
        need(pages == shape.pages and slab + pages <= self.end, self.word_at(slab), "the pages of a slab")
        return shape

    # All of it

    def blocks(self) -> List[Block]:
        """All blocks, in the order of their offsets; every page is looked at and has to be what the format says."""
        blocks: List[Block] = []
        slabs: Dict[int, Slab] = {}
        extents, nodes, in_tree = self.free_tree()
        free = {extent.page: extent.pages for extent in extents}
        node_pages, logs, arrays, runs, page = set(), [], {}, 0, self.first
        while page < self.end:
            if page in free:
                need(self.are_words_zero(page, free[page]), self.word_at(page), "a free page has a word")
                page += free[page]
                continue
            runs += 1
            word, at = self.word(page), self.word_at(page)
            kind, pages = word & 15, word >> 32
            if kind == SLAB:
                pages = self.shape(page, word).pages
                for distance in range(pages):
                    need(self.word(page + distance) == word & 0xFFFFFFFF | distance << 32, at, "the words of a slab")
                slabs[page] = self.slab(page, word, blocks)
            else:
                if kind == BLOCK:
                    blocks.append(self.long_block(page, word))
                elif kind == ARRAY:
                    number = word >> 8 & 0xFF
                    named = number < ARRAYS and self.arrays[number] == page and pages == self.array_pages(number)
                    need(named and word & 0xFFFF00F0 == 0, at, "an array of the page map")
                    arrays[number] = page
                elif kind == LOG:
                    logs.append((page, pages))
                elif kind == NODES:
                    node_pages.add(page)
                known = kind in (BLOCK, ARRAY, LOG) or kind in (NODES, HEADER) and pages == 1
                need(known and (kind != HEADER or page == self.first), at, "a page is neither free nor used")
                need(kind in (BLOCK, ARRAY) or word & 0xFFFFFFF0 == 0, at, "the word of a run")
                need(pages >= 1 and page + pages <= self.end, at, "a run past the heap's end")
                need(self.are_words_zero(page + 1, pages - 1), at, "a word inside a run")
            page += pages
        self.check_header(runs, extents, node_pages, nodes, in_tree, logs, arrays)
        self.check_lists(slabs)
        return blocks

    def check_header(self, runs: int, extents: List[Extent], node_pages: Set[int], nodes: Set[int], in_tree: int,
                     logs: List[Tuple[int, int]], arrays: Dict[int, int]) -> None:
        """What the header says of the whole."""
        free = sum(extent.pages for extent in extents)
        need(self.words[2] == runs | free << 32, self.at + 16, "used runs and free pages")
        need(self.words[5] == len(nodes) | in_tree << 32, self.at + 40, "nodes of the free tree")
        need({node // PAGE for node in nodes} <= node_pages, self.at + 40, "a node outside its pages")
        need(len(nodes) == 128 * len(node_pages), self.at + 40, "nodes and their pages")
        named = sorted((word & 0xFFFFFFFF, word >> 32) for word in (self.words[7], self.words[104]) if word)
        need(named == sorted(logs), self.at + 56, "runs of the log")
        need(len(arrays) == sum(1 for page in self.arrays if page), self.at + 64, "arrays of the page map")
        behind = self.first + (512 << max(arrays)) - self.end
        need(self.are_words_zero(self.end, behind), self.at + 8, "a page behind the heap's end has a word")

    def free_tree(self) -> Tuple[List[Extent], Set[int], int]:
        """Free extents in order; all nodes; how many of them are in the tree ("Free tree")."""
        seen: Set[int] = set()
        extents: List[Extent] = []

        def node(at: int) -> Tuple[int, int, int, int]:
            inside = PAGE * self.first < at < PAGE * self.end and at % 32 == 0
            need(inside and at not in seen, at, "there is no node of the free tree")
            seen.add(at)
            return self.image.unpack("<4Q", at)

        def tree(at: int, low: int, high: int, above: int) -> Tuple[int, int]:
            """Height and longest extent of a subtree, whose pages lie in `low..high`."""
            if at == 0:
                return 0, 0
            need(above > 0, at, "the free tree is too high")
            place, measure, left, right = node(at)
            extent = Extent(place & 0xFFFFFFFF, place >> 32)
            end = extent.page + extent.pages
            need(low <= extent.page < end <= high, at, "a free extent is out of order, or touches another")
            left_height, left_longest = tree(left, low, extent.page - 1, above - 1)
            extents.append(extent)
            right_height, right_longest = tree(right, end + 1, high, above - 1)
            height = 1 + max(left_height, right_height)
            longest = max(extent.pages, left_longest, right_longest)
            said = (measure & 0xFFFFFFFF, measure >> 32 & 0xFF, measure >> 41)
            need(abs(left_height - right_height) <= 1 and said == (longest, height, 0), at, "a node of the free tree")
            return height, longest

        tree(self.words[3], self.first, self.end, HIGHEST_TREE)
        in_tree, spare = len(seen), self.words[4]
        while spare:
            spare = node(spare)[2]
        return extents, seen, in_tree

    def slab(self, page: int, word: int, blocks: List[Block]) -> Slab:
        """Reads a slab, and adds its blocks."""
        shape, at = self.shape(page, word), PAGE * page
        magic, kind, pages, listed, slots, before, after = self.image.unpack("<BHBHHII", at)
        told = (magic, kind, pages, slots) == (0xA5, word >> 8 & 0xFFFF, shape.pages, shape.slots)
        need(told and listed in (0, 1), at, "the header of a slab")
        need(listed or (before, after) == (0, 0), at, "links of a slab that is in no list")
        content = self.image.bytes(at + 16, 8 * -(-shape.slots * shape.width // 8))
        states = struct.unpack_from(f"<{shape.slots}{'B' if shape.width == 1 else 'H'}", content)
        need(not content[shape.slots * shape.width :].strip(b"\xff"), at + 16, "behind the states of a slab")
        need(max(states) <= shape.size + 1, at + 16, "the state of a slot")
        for slot, state in enumerate(states):
            if state:
                blocks.append(Block(at + shape.start + slot * shape.size, 1 + shape.size - state))
        return Slab(word >> 10 & 0x3FFF, listed == 1, before, after, 0 in states)

    def check_lists(self, slabs: Dict[int, Slab]) -> None:
        """Words 32 to 103 of the header: the list of each class."""
        numbers, listed = [0] * CLASSES, set()
        for slab in slabs.values():
            numbers[slab.number] += 1
        for number in range(CLASSES):
            word, at = self.words[32 + number], self.at + 8 * (32 + number)
            need(word >> 32 == numbers[number], at, "how many slabs a class has")
            before, page = 0, word & 0xFFFFFFFF
            while page:
                slab = slabs.get(page)
                if slab is None or (slab.number, slab.listed, slab.before) != (number, True, before):
                    raise Damaged(PAGE * page, "a list of slabs")
                listed.add(page)
                before, page = page, slab.after
        for page, slab in slabs.items():
            need((page in listed) == slab.listed, PAGE * page, "a slab is not in its list")
            need(page in listed or not slab.has_room, PAGE * page, "a slab with a free slot is in no list")

    # Roots

    def roots(self) -> Iterator[Root]:
        """In the order of their names ("Roots")."""
        directory = self.words[6]
        if directory == 0:
            return
        offsets = self.block(directory)
        need(len(offsets) % 8 == 0, directory, "the directory of the roots")
        last = None
        for (at,) in struct.iter_unpack("<Q", offsets):
            record = bytes(self.block(at))
            need(len(record) >= 24, at, "a root's record is too short")
            offset, size, align, name_length, type_length = struct.unpack_from("<QIIII", record)
            need(len(record) == 24 + name_length + type_length and name_length <= 1024, at, "a root's record")
            name = record[24 : 24 + name_length]
            need(last is None or last < name, at, "roots are out of order")
            last = name
            kind = text(record[24 + name_length :], at, "the type of a root")
            yield Root(text(name, at, "the name of a root"), kind, offset, size, align, self.place(offset).length)

    def root(self, name: str) -> Root:
        for root in self.roots():
            if root.name == name:
                return root
        raise KeyError(name)
