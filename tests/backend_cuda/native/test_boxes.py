"""Box programs: what they say in NumPy, that every element is written once, and that transposes are adjoints.

The tables are walked here by a second reader, written from the words' description, which stands in for the core.
"""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend_cuda.native import boxes
from backend_cuda.native.boxes import BoxProgram, Way
from backend_cuda.native.schedule import MAX_RANKS, Schedule, schedule
from ir.errors import InternalError


def blocks_of(program: BoxProgram, dtype: str = "float64", seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(-99, 99, program.shape).astype(dtype) for _ in range(program.ranks)]


def tables(program: BoxProgram, itemsize: int, piece_bytes: int = 0) -> Schedule:
    made = schedule(program, itemsize, piece_bytes)
    assert made is not None
    return made


class Reader:
    """Runs a table as the core does, on arrays of `unit` bytes, or of numbers where sources are added."""

    def __init__(self, program: BoxProgram, blocks: list[np.ndarray], piece_bytes: int = 0):
        self.made = tables(program, blocks[0].dtype.itemsize, piece_bytes)
        self.view = np.dtype(f"V{self.made.unit}") if self.made.unit else blocks[0].dtype
        self.blocks = [self.flat(b) for b in blocks]
        item = self.view.itemsize
        self.slots = [np.zeros(self.made.slot_bytes // item + 1, self.view) for _ in blocks]
        size = math.prod(program.result) * blocks[0].dtype.itemsize // item
        self.results = [np.zeros(size, self.view) for _ in blocks]
        self.written = [np.zeros(size, int) for _ in blocks]
        self.words: list[int] = []
        for number in range(self.made.words.shape[1]):
            for rank in range(program.ranks):
                self.rank(rank, number, stage=True)
            for rank in range(program.ranks):
                self.rank(rank, number, stage=False)
        self.answers = [r.view(blocks[0].dtype).reshape(program.result) for r in self.results]

    def flat(self, x: np.ndarray) -> np.ndarray:
        missing = -x.nbytes % self.view.itemsize  # a block's padding need not make a whole unit
        return np.frombuffer(x.tobytes() + bytes(missing), self.view)

    def take(self, count: int) -> list[int]:
        taken, self.words = self.words[:count], self.words[count:]
        return taken

    def place(self, extents: list[int]) -> np.ndarray:
        """The indices that an operand's walk visits."""
        (at,), index = self.take(1), np.zeros((), int)
        for n, stride in zip(extents, self.take(len(extents)), strict=True):
            index = index[..., None] + np.arange(n) * stride
        return (index + at).reshape(-1)

    def rank(self, rank: int, number: int, stage: bool) -> None:
        self.words = self.made.words[rank, number].tolist()
        stages, local, rest, staged = self.take(4)
        assert staged <= self.made.slot_bytes
        for _ in range(stages):
            extents = self.take(*self.take(1))
            to = self.place(extents)
            assert self.take(1) == [-1]
            source = self.place(extents)
            if stage:
                self.slots[rank][to] = self.blocks[rank][source]
        for b in range(0 if stage else local + rest):
            (count,) = self.take(1)
            extents = self.take(*self.take(1))
            to, terms = self.place(extents), []
            for _ in range(count):
                (peer,) = self.take(1)
                assert peer == -1 or b >= local, "what needs no peer comes first"
                terms.append((self.blocks[rank] if peer == -1 else self.slots[peer])[self.place(extents)])
            self.written[rank][to] += 1
            if terms:
                self.results[rank][to] = terms[0] if len(terms) == 1 else sum(terms[1:], start=terms[0])


def check(program: BoxProgram, dtype: str = "float64") -> None:
    """The table's answers are the program's, each element written once; and the transpose is the adjoint."""
    for p in (program, program.transpose(), program.batched(3), program.transpose().batched(2)):
        blocks = blocks_of(p, dtype)
        for piece_bytes in (0, 64):
            read = Reader(p, blocks, piece_bytes)
            assert all((w == 1).all() for w in read.written)
            for found, wanted in zip(read.answers, p.apply(blocks), strict=True):
                np.testing.assert_array_equal(found, wanted)
    x, y = blocks_of(program), blocks_of(program.transpose(), seed=1)
    forward = sum(float((a * b).sum()) for a, b in zip(program.apply(x), y, strict=True))
    backward = sum(float((a * b).sum()) for a, b in zip(x, program.transpose().apply(y), strict=True))
    assert forward == backward, "integers in float64: exact"


def whole(program: BoxProgram, blocks: list[np.ndarray], axis: int) -> np.ndarray:
    return np.concatenate(blocks, axis=axis)


ranks = st.integers(1, 5)
shapes = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)
dtypes = st.sampled_from(["float32", "float64", "int32", "complex64"])


@given(ranks, shapes, st.data(), dtypes)
def test_an_all_to_all_splits_the_whole_along_another_dim(n, shape, data, dtype):
    source, target = data.draw(st.permutations(range(len(shape))))[:2]
    size = data.draw(st.integers(max(1, shape[source] * n - 4), shape[source] * n))
    program = boxes.all_to_all(n, shape, source, target, size)
    blocks = blocks_of(program)
    everything = np.take(whole(program, blocks, source), range(size), axis=source)
    piece = -(-shape[target] // n)
    pad = [(0, 0)] * len(shape)
    pad[target] = (0, piece * n - shape[target])
    wanted = np.split(np.pad(everything, pad), n, axis=target)
    for found, block in zip(program.apply(blocks), wanted, strict=True):
        np.testing.assert_array_equal(found, block)
    check(program, dtype)


@given(ranks, shapes, st.data(), dtypes)
def test_gather_scatter_and_permute_are_those_of_the_whole(n, shape, data, dtype):
    axis = data.draw(st.integers(0, len(shape) - 1))
    size = data.draw(st.integers(max(1, shape[axis] * (n - 1)), shape[axis] * n))
    gather = boxes.all_gather(n, shape, axis, size)
    blocks = blocks_of(gather)
    for found in gather.apply(blocks):
        np.testing.assert_array_equal(found, np.take(whole(gather, blocks, axis), range(size), axis=axis))
    check(gather, dtype)
    scatter = boxes.reduce_scatter(n, shape, axis)
    piece = -(-shape[axis] // n)
    pad = [(0, 0)] * len(shape)
    pad[axis] = (0, piece * n - shape[axis])
    for found, block in zip(scatter.apply(blocks), np.split(np.pad(sum(blocks), pad), n, axis=axis), strict=True):
        np.testing.assert_array_equal(found, block)
    check(scatter, dtype)
    to = data.draw(st.permutations(range(n)))
    passed = boxes.permute(n, shape, [(r, to[r]) for r in range(n)])
    for r in range(n):
        np.testing.assert_array_equal(passed.apply(blocks)[to[r]], blocks[r])
    check(passed, dtype)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data(), dtypes)
def test_what_goes_around_comes_to_the_neighbour_on_its_way(parts, data, dtype):
    ways: list[Way] = [w for w in product((-1, 0, 1), repeat=len(parts)) if any(w)]
    half = data.draw(st.lists(st.integers(0, 4), min_size=len(ways) // 2, max_size=len(ways) // 2))
    sizes, rings = [*half, *half[::-1]], data.draw(st.lists(st.booleans(), min_size=len(parts), max_size=len(parts)))
    program = boxes.around(parts, ways, sizes, rings)
    blocks, ends = blocks_of(program), np.cumsum(sizes)
    pieces = [dict(zip(ways, np.split(x, ends[:-1]), strict=True)) for x in blocks]
    handed: dict[Way, dict[Way, np.ndarray]] = dict(zip(np.ndindex(*parts), pieces, strict=True))
    for at, found in zip(np.ndindex(*parts), program.apply(blocks), strict=True):
        for way, piece in zip(ways, np.split(found, ends[:-1]), strict=True):
            there = tuple(i + w for i, w in zip(at, way, strict=True))
            inside = all(r or 0 <= i < n for i, n, r in zip(there, parts, rings, strict=True))
            source = handed[tuple(i % n for i, n in zip(there, parts, strict=True))]
            wanted = source[tuple(-w for w in way)] if inside else np.zeros_like(piece)
            np.testing.assert_array_equal(piece, wanted)
    check(program, dtype)


boxes_of = st.tuples(st.integers(0, 1), st.integers(0, 1), *[st.tuples(st.integers(0, 1), st.integers(0, 2))] * 2)


@settings(max_examples=30)
@given(st.lists(boxes_of, min_size=2, max_size=4), dtypes)
def test_boxes_that_overlap_are_added_in_their_order(found, dtype):
    """Of extents (2, 1), anywhere in blocks (3, 3): results are cut where any of them begins or ends."""
    program = BoxProgram.of(2, (3, 3), (3, 3), [(to, source, start, here, (2, 1)) for to, source, start, here in found])
    check(program, dtype)


def test_pieces_that_go_around_are_staged_once_each():
    sizes = [3, 5, 3, 7, 7, 3, 5, 3]
    ways = [w for w in product((-1, 0, 1), repeat=2) if any(w)]
    found = tables(boxes.around((4, 4), ways, sizes, (True, True)), 16)
    assert found.slot_bytes == 16 * sum(sizes)
    assert found.words[:, 0, 0].tolist() == [8] * 16


def test_what_all_peers_want_is_staged_once():
    assert tables(boxes.all_gather(8, (5, 7, 3), 0), 4).slot_bytes == 4 * 108  # 105, aligned to 16 bytes


def test_large_copies_go_in_units_of_sixteen_bytes_and_sums_in_numbers():
    assert tables(boxes.all_to_all(4, (8, 16, 32), 0, 1), 4).unit == 16
    assert tables(boxes.all_to_all(4, (8, 4, 3), 0, 2), 4).unit == 4
    assert tables(boxes.reduce_scatter(4, (8, 16, 32), 0), 4).unit == 0


def test_large_copies_go_in_rounds_and_sums_in_one():
    program = boxes.all_to_all(4, (8, 16, 32), 0, 1)
    found, staged = tables(program, 4, 2048), 3 * 8 * 4 * 32 * 4
    assert found.words.shape[:2] == (4, 4) and found.unit == 16
    assert found.slot_bytes == staged / 4, "8 rows in 6 rounds would be two rows in some, so 4 rounds do"
    assert tables(boxes.reduce_scatter(4, (8, 16, 32), 0), 4, 2048).words.shape[1] == 1


def test_what_the_core_is_too_small_for_has_no_table():
    assert schedule(boxes.all_gather(MAX_RANKS + 1, (2, 2), 0), 4) is None
    zero, two, three = (0,) * 7, (2,) * 7, (3,) * 7  # every dim is cut, so none can be joined with the next
    assert schedule(BoxProgram.of(2, three, three, [(1, 0, zero, zero, two)]), 4) is None


def test_a_box_outside_its_block_is_an_error():
    with pytest.raises(InternalError, match="leaves its block"):
        BoxProgram.of(2, (3, 4), (3, 4), [(0, 1, (1, 0), (0, 0), (3, 4))])
