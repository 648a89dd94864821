"""Paths of moves between layouts: one exchange of ours gives the blocks of the new one, whatever moves are between."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backend_cuda as backend
from backend_cuda.native import NativeCollectives, boxes
from backend_cuda.reshard import reshard
from ir.dims import Dim, TensorType
from ir.layout import Layout
from ir.mesh import Mesh
from ir.native import Native
from planner import Machine
from planner.cost import Costs
from planner.reshard import Reshards

from .test_boxes import check
from .virtual import binding

TYPE = TensorType((Dim("x", 9), Dim("y", 10), Dim("z", 11)), "f32")
AXES = st.sampled_from([(), (0,), (1,), (0, 1), (1, 0)])


@given(st.tuples(*(st.integers(1, 7),) * 2), st.tuples(*(st.sampled_from([1, 2, 3]),) * 2), AXES, AXES, AXES, AXES)
@settings(max_examples=60, deadline=None)
def test_any_way_to_split_leads_to_any_other(sizes, grid, a, b, c, d):
    before, then = ((p, tuple(i for i in q if i not in p)) for p, q in ((a, b), (c, d)))
    made = boxes.reshard(grid, sizes, before, then)
    check(made)
    whole = np.arange(1.0, 1 + np.prod(sizes)).reshape(sizes)
    stored = [[np.zeros(shape) for _ in range(made.ranks)] for shape in (made.shape, made.result)]
    for blocks, splits in zip(stored, (before, then), strict=True):
        for rank, at in enumerate(np.ndindex(*grid)):
            region = tuple(slice(*ends) for ends in boxes._region(grid, sizes, splits, at))
            part = whole[region]
            blocks[rank][tuple(map(slice, part.shape))] = part
    for ours, expected in zip(made.apply(stored[0]), stored[1], strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ({"x": ("row", "col")}, {"y": ("row",), "z": ("col",)}),  # slabs to pencils
        ({"x": ("row",), "y": ("col",)}, {"x": ("col",), "y": ("row",)}),
        ({"x": ("row", "col")}, {"x": ("col", "row")}),  # a permute in rounds
        ({"x": ("row",), "z": ("col",)}, {"z": ("row",)}),
    ],
)
def test_a_path_is_one_call(before, then):
    mesh = Mesh.parse("row=2,col=3")
    start, end = Layout.of(before), Layout.of(then)
    path = Reshards(Costs(Machine.load("h200x8"), mesh), mesh).graph(TYPE, [start, end]).path(start, end)
    devices = backend.device_mesh(mesh)
    specs = backend.spec(TYPE, start), backend.spec(TYPE, end)
    whole = np.random.default_rng(0).normal(size=TYPE.shape).astype(np.float32)
    stored = backend.store(whole, TYPE, start, mesh, devices)
    every = NativeCollectives(binding("row=2,col=3"))
    none = NativeCollectives(binding("row=2,col=3"), rules=(Native("all_reduce", ("row",)),))
    for comm, calls in ((every, 1), (none, 0)):
        f = lambda x, comm=comm: reshard(comm.opened(), x, TYPE, path, start, mesh)  # noqa: E731
        moved = jax.jit(backend.spmd(f, mesh, devices, specs[:1], specs[1]))
        assert moved.lower(stored).as_text().count("@meshbayes_exchange(") == calls
        np.testing.assert_array_equal(backend.gather(moved(stored), TYPE), whole)
