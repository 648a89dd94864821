"""Box programs: what they say in NumPy, that every element is written once, and that transposes are adjoints.

The tables are walked here by a second reader, written from the words' description, which stands in for the core.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend_cuda.native import boxes
from backend_cuda.native.boxes import BoxProgram, Edge
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


@st.composite
def halos(draw) -> tuple[tuple[int, ...], tuple[Edge, ...]]:
    shape = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    found = []
    for axis in draw(st.permutations(range(len(shape)))):
        parts = draw(st.integers(1, 3))
        size = draw(st.integers(shape[axis] * (parts - 1) + 1, shape[axis] * parts))
        most = size - shape[axis] * (parts - 1)
        found.append(Edge(axis, parts, size, draw(st.integers(0, most)), draw(st.booleans())))
    return shape, tuple(found[: draw(st.integers(1, len(found)))])


@given(halos(), dtypes)
def test_a_halo_is_the_padded_whole_around_every_block(case, dtype):
    shape, edges = case
    program = boxes.copy_halo(shape, edges)
    parts, sizes = [e.parts for e in edges], [*shape]
    for e in edges:
        sizes[e.axis] = e.size
    everything = np.random.default_rng(2).integers(1, 99, sizes).astype("float64")
    padded = everything
    for e in edges:
        pad = [(0, 0)] * len(shape)
        pad[e.axis] = (e.width, e.width)
        padded = np.pad(padded, pad, mode="wrap" if e.periodic else "constant")
    blocks, wanted, real = [], [], []
    for at in np.ndindex(*parts):
        own, around = [slice(None)] * len(shape), [slice(None)] * len(shape)
        for e, i in zip(edges, at, strict=True):
            low = i * shape[e.axis]
            high = min(low + shape[e.axis], e.size)
            own[e.axis], around[e.axis] = slice(low, high), slice(low, high + 2 * e.width)
        held = everything[tuple(own)]
        fill = [(0, n - m) for n, m in zip(shape, held.shape, strict=True)]
        blocks.append(np.pad(held, fill, constant_values=np.nan))
        wanted.append(padded[tuple(around)])
        real.append(tuple(slice(0, n) for n in wanted[-1].shape))
    for found, inside, block in zip(program.apply(blocks), real, wanted, strict=True):
        np.testing.assert_array_equal(found[inside], block)
        assert np.isfinite(found).all(), "padding never mixes in"
    check(program, dtype)


def test_a_summed_halo_of_ones_counts_who_reads_an_element():
    """Widths (1, 2) on 2 x 3 periodic ranks: an element is held by its own block and, at edges, by more."""
    edges = (Edge(0, 2, 8, 1), Edge(1, 3, 15, 2))
    program = boxes.sum_halo((4, 5), edges)
    made = program.apply([np.ones((6, 9)) for _ in range(6)])
    rows, columns = np.array([2, 1, 1, 2]), np.array([2, 2, 1, 2, 2])
    for block in made:
        np.testing.assert_array_equal(block, rows[:, None] * columns)


def test_a_pencil_halo_takes_eight_messages_and_no_more_bytes_than_its_faces_and_corners():
    shape, edges = (16, 12, 10), (Edge(0, 4, 64, 2), Edge(1, 4, 48, 3))
    found = tables(boxes.copy_halo(shape, edges), 4)
    faces, corners = 2 * 2 * 12 * 10 + 2 * 3 * 16 * 10, 4 * 2 * 3 * 10
    assert found.slot_bytes == 4 * (faces + corners)
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
    assert found.words.shape[:2] == (4, 6) and found.unit == 16
    assert staged / 6 <= found.slot_bytes <= 2 * staged / 6, "8 rows in 6 rounds: at most two of them"
    assert tables(boxes.reduce_scatter(4, (8, 16, 32), 0), 4, 2048).words.shape[1] == 1


def test_what_the_core_is_too_small_for_has_no_table():
    assert schedule(boxes.all_gather(MAX_RANKS + 1, (2, 2), 0), 4) is None
    odd = (3, 3, 3, 3, 3, 3, 3)  # every dim is cut, so none can be joined with the next
    many = boxes.copy_halo(odd, [Edge(a, 1, 3, 1) for a in range(7)])
    assert schedule(many, 4) is None


def test_a_halo_wider_than_a_block_is_an_error():
    with pytest.raises(InternalError, match="width 2 on blocks of"):
        boxes.copy_halo((3, 4), [Edge(0, 3, 7, 2)])


def test_a_box_outside_its_block_is_an_error():
    with pytest.raises(InternalError, match="leaves its block"):
        BoxProgram.of(2, (3, 4), (3, 4), [(0, 1, (1, 0), (0, 0), (3, 4))])
