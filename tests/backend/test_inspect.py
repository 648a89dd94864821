"""Collectives are read from programs as they are: kinds, mesh axes, sizes and trip counts, in StableHLO and in HLO."""

from collections import Counter
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import PartitionSpec as P

from backend_cuda import device_mesh, spmd
from backend_cuda.inspect import emitted, hlo_collectives, optimised, received
from ir.errors import InternalError
from ir.layout import Collective
from ir.mesh import Mesh

MESH = Mesh.parse("row=2,col=3")
AXES = [axes for count in (1, 2) for axes in permutations(MESH.names, count)]


def lowered(f, *shapes, mesh=MESH):
    whole = spmd(f, mesh, device_mesh(mesh), tuple(P() for _ in shapes), P())
    return jax.jit(whole).lower(*(jax.ShapeDtypeStruct(s, "float32") for s in shapes))


def both(program, mesh=MESH):
    """What stands in the StableHLO and in the optimised HLO, as (text of the collective, trips)."""
    compiled = program.compile()
    return tuple(
        Counter((str(p.collective), p.trips) for p in found)
        for found in (emitted(program, mesh), optimised(compiled, mesh))
    )


@pytest.mark.parametrize("axes", AXES, ids="+".join)
def test_kinds_axes_and_bytes_are_those_of_the_program(axes):
    parts = MESH.size(axes)
    order = [a for a in MESH.names if a in axes]
    grid = np.arange(parts).reshape([MESH.size(a) for a in order])
    ranks = np.transpose(grid, [order.index(a) for a in axes]).reshape(-1).tolist()  # as ppermute counts

    def f(x):  # f32[6, 5]
        gathered = lax.all_gather(x, axes, axis=1, tiled=True)
        dealt = lax.all_to_all(gathered, axes, 0, 1, tiled=True)
        summed = lax.psum(jnp.sin(dealt), order)
        scattered = lax.psum_scatter(jnp.cos(summed), axes, scatter_dimension=1, tiled=True)
        return lax.ppermute(scattered, tuple(order), [(ranks[i], ranks[(i + 1) % parts]) for i in range(parts)])

    name = "+".join(axes)
    size = 4 * 6 * 5 * parts
    wanted = Counter(
        {
            f"all_gather({name}) f32 {4 * 6 * 5} B": 1,
            f"all_to_all({name}) f32 {size} B": 1,
            f"all_reduce({'+'.join(order)}) f32 {size} B": 1,
            f"reduce_scatter({name}) f32 {size} B": 1,
            f"collective_permute({name}) f32 {size // parts} B": 1,
        }
    )
    first, last = both(lowered(f, (6, 5)))
    assert first == Counter({(c, 1): n for c, n in wanted.items()})
    assert last == first


def test_collectives_of_a_loop_count_once_a_trip():
    def f(x):
        def inner(c, _):
            return lax.psum(jnp.sin(c), "row"), None

        def outer(c, _):
            c, _ = lax.scan(inner, c, None, length=5)
            return lax.pmax(c * 0.5, "col"), None

        return lax.scan(outer, x, None, length=7)[0]

    wanted = {("all_reduce(row) f32 36 B", 35): 1, ("all_reduce(col) f32 36 B", 7): 1}
    assert both(lowered(f, (9,))) == (Counter(wanted), Counter(wanted))


def test_where_data_decide_there_is_no_trip_count():
    def f(x):
        x = lax.while_loop(lambda c: c[0] > 1, lambda c: lax.psum(c, "row") * 0.1, x)
        return lax.cond(x[0] > 0, lambda c: lax.psum(c, "col"), lambda c: c, x)

    wanted = Counter({("all_reduce(row) f32 36 B", None): 1, ("all_reduce(col) f32 36 B", None): 1})
    assert both(lowered(f, (9,))) == (wanted, wanted)


def test_one_device_has_no_collectives():
    program = lowered(lambda x: x + 1, (9,), mesh=Mesh())
    assert emitted(program, Mesh()) == optimised(program.compile(), Mesh()) == []


HLO = """HloModule jit_f, num_partitions=6

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %add = f32[] add(%a, %b)
}

ENTRY %main (x: f32[4,9]) -> f32[4,9] {
  %x = f32[4,9]{1,0} parameter(0)
  %y = c64[3]{0} custom-call(), custom_call_target="y"
%BODY%
}
"""


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("%r = f32[4,9]{1,0} all-reduce(%x), replica_groups={{0,3},{1,4},{2,5}}, to_apply=%sum", "all_reduce row 144"),
        ("%r = f32[4,9]{1,0} all-reduce(%x), replica_groups={}, to_apply=%sum", "all_reduce row+col 144"),
        ("%r = f32[4,27]{1,0} all-gather(%x), replica_groups=[2,3]<=[6], dimensions={1}", "all_gather col 144"),
        ("%r = f32[8,9]{1,0} all-gather(%x), replica_groups=[3,2]<=[2,3]T(1,0)", "all_gather row 144"),
        ("%r = f32[24,9]{1,0} all-gather(%x), replica_groups=[1,6]<=[2,3]T(1,0)", "all_gather col+row 144"),
        ("%r = f32[8,9]{1,0} all-gather(%x), replica_groups=mesh['a'=2,'b'=3] {'a'}", "all_gather row 144"),
        ("%r = f32[8,9]{1,0} all-gather(%x), replica_groups=mesh['a'=3,'b'=2], device_ids=([2,3]T(1,0)) {'b'}",
         "all_gather row 144"),
        ("%r = f32[4,9]{1,0} collective-permute(%x), source_target_pairs={{0,2},{1,0},{2,1},{3,5},{4,3},{5,4}}",
         "collective_permute col 144"),
        ("%r = (f32[4,9]{1,0}, f32[8,9]{1,0}) all-gather-start(%x), replica_groups={{0,3},{1,4},{2,5}}\n"
         "  %s = f32[8,9]{1,0} all-gather-done(%r)", "all_gather row 144"),
        ("%r = (f32[4,9]{1,0}, c64[3]{0}) all-reduce(%x, /*index=1*/%y), replica_groups=[1,6]<=[6], to_apply=%sum",
         "all_reduce row+col 144 all_reduce row+col 24"),
        ("%r = (c64[3]{0}, c64[3]{0}) all-to-all(%y, %y), replica_groups={{0,3},{1,4},{2,5}}", "all_to_all row 48"),
    ],
)  # fmt: skip
def test_every_way_to_write_groups_and_operands_is_read(line, wanted):
    found = hlo_collectives(HLO.replace("%BODY%", "  " + line), MESH)
    assert len({p.instruction for p in found}) == 1
    shown = [f"{p.collective.kind} {'+'.join(p.collective.axes)} {p.collective.bytes}" for p in found]
    assert " ".join(shown) == wanted
    assert all(p.trips == 1 for p in found)


def test_groups_along_no_axes_of_the_mesh_are_an_error():
    line = "  %r = f32[4,9]{1,0} all-reduce(%x), replica_groups={{0,1},{2,3},{4,5}}, to_apply=%sum"
    with pytest.raises(InternalError, match="lie along no axes of the mesh row=2,col=3"):
        hlo_collectives(HLO.replace("%BODY%", line), MESH)


def test_a_collective_is_told_in_the_words_of_the_plan():
    program = lowered(lambda x: lax.psum(x, ("row", "col")), (9,))
    assert [p.collective for p in emitted(program, MESH)] == [Collective("all_reduce", ("row", "col"), "f32", 36)]


def test_a_permute_that_is_no_ring_lies_along_the_axes_on_which_anything_moves():
    line = "  %r = f32[4,9]{1,0} collective-permute(%x), source_target_pairs={{0,0},{1,2},{2,1},{3,3},{4,5},{5,4}}"
    (found,) = hlo_collectives(HLO.replace("%BODY%", line), MESH)
    assert found.collective == Collective("collective_permute", ("col",), "f32", 144)


def test_received_bytes_are_those_of_each_device_and_every_trip():
    def f(x):  # f32[6, 5], 120 B
        x = lax.all_gather(x, "col", axis=0, tiled=True)[:6]
        x = lax.all_to_all(x, "row", 0, 0, tiled=True)
        x = lax.ppermute(x, ("row", "col"), [(0, 0), (1, 2), (2, 1), (3, 3), (4, 4), (5, 5)])
        x, _ = lax.scan(lambda c, _: (lax.psum(jnp.sin(c), "col"), None), x, None, length=7)
        return x

    always = 2 * 120 + 120 / 2 + 7 * 2 * 2 / 3 * 120
    found = received(lowered(f, (6, 5)).compile(), MESH)
    np.testing.assert_allclose(found, always + 120 * np.array([0, 1, 1, 0, 0, 0]))


def test_bytes_that_data_decide_on_are_not_told():
    program = lowered(lambda x: lax.while_loop(lambda c: c[0] > 1, lambda c: lax.psum(c, "row") * 0.1, x), (9,))
    with pytest.raises(InternalError, match="not known before it runs"):
        received(program.compile(), MESH)
