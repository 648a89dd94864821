"""Known best plans of Fourier transforms: slabs, pencils, transposed k-space, and axes that are better left idle."""

import dataclasses
import math

import pytest

from ir.layout import Layout, block
from planner import Machine
from tests.planner.prices import H100, across, exactly, fused, inside, kinds, plan_of, seconds, work
from tests.planner.programs import forces, fourier, real_fourier, there_and_back

GPU, NODE = inside(8), across(8)
MESH = "node=8,gpu=8"
BLOCKS = Layout.of({"x": "node", "y": "gpu"})


def transform(points: float, along: int, machine: Machine = H100) -> float:
    """A complex transform of `points` elements on one device, in lines of `along`: 5 N log2 n flops, 16 B a point."""
    return work(5 * points * math.log2(along), 16 * points, machine)


# --- 4: slabs and pencils ---


def test_a_slab_transform_needs_one_all_to_all():
    x, y, z = 512, 384, 256
    program, points = fourier(x, y, z), x * y * z / 8
    plan = plan_of(program, "gpu=8")
    expected = transform(points, x) + transform(points, y) + transform(points, z) + GPU.all_to_all(8 * points)
    assert seconds(plan) == exactly(expected)
    assert kinds(program, plan) == {"all_to_all": 1}


def pencils(x: int, y: int, z: int) -> float:
    points = x * y * z / 64
    moved = GPU.all_to_all(8 * points) + NODE.all_to_all(8 * points)
    return transform(points, x) + transform(points, y) + transform(points, z) + moved


def test_a_pencil_transform_needs_two_all_to_alls():
    """[(p-1)/p + (q-1)/q] V/P bytes leave each device."""
    x, y, z = 1024, 960, 896
    program = fourier(x, y, z)
    plan = plan_of(program, MESH, fixed={"delta": BLOCKS})
    assert seconds(plan) == exactly(pencils(x, y, z))
    assert kinds(program, plan) == {"all_to_all": 2}
    assert sum(plan.prediction.bytes_by_axes.values()) == (7 / 8 + 7 / 8) * 8 * x * y * z / 64


def poisson(points: float, sizes: tuple[int, int, int]) -> float:
    return 2 * sum(transform(points, n) for n in sizes) + fused(points, 24 * points)


def test_a_poisson_solve_leaves_k_space_transposed():
    """Two all-to-alls as slabs, not four: the modes are multiplied where the transform leaves them."""
    sizes = 512, 384, 256
    program, points = there_and_back(*sizes), math.prod(sizes) / 8
    plan = plan_of(program, "gpu=8")
    assert seconds(plan) == exactly(poisson(points, sizes) + 2 * GPU.all_to_all(8 * points))
    assert kinds(program, plan) == {"all_to_all": 2}


def test_a_poisson_solve_in_pencils_needs_four_all_to_alls():
    sizes = 1024, 960, 896
    program, points = there_and_back(*sizes), math.prod(sizes) / 64
    plan = plan_of(program, MESH, fixed={"delta": BLOCKS, "phi": BLOCKS})
    moved = 2 * (GPU.all_to_all(8 * points) + NODE.all_to_all(8 * points))
    assert seconds(plan) == exactly(poisson(points, sizes) + moved)
    assert kinds(program, plan) == {"all_to_all": 4}
    assert plan.layouts["kernel"] == Layout.of({"ky": "node", "kz": "gpu"})


def test_half_a_spectrum_is_priced_with_its_padding():
    """z = 450 leaves 226 modes, in eight blocks of 29: 232 are sent."""
    x, y, z = 512, 480, 450
    half = z // 2 + 1
    padded, deep = block(half, 8) * 8, block(half, 8)
    assert (half, padded) == (226, 232)
    program = real_fourier(x, y, z)
    plan = plan_of(program, MESH, fixed={"delta": BLOCKS, "modes": Layout.of({"ky": "node", "kz": "gpu"})})
    lines = x * y / 64
    first = work(2.5 * lines * z * math.log2(z), 4 * lines * z + 8 * lines * half)
    points = x / 8 * y * deep
    sent = 8 * lines * padded, 8 * points
    expected = first + transform(points, y) + transform(points, x) + GPU.all_to_all(sent[0]) + NODE.all_to_all(sent[1])
    assert seconds(plan) == exactly(expected)
    assert {(c.kind, c.axes, c.bytes) for c in plan.collectives(program)} == {
        ("all_to_all", ("gpu",), sent[0]),
        ("all_to_all", ("node",), sent[1]),
    }


# --- 5: forces on a grid ---


def test_three_inverse_transforms_need_eight_all_to_alls_and_differences_four():
    """Forward once in both; back three times, or once and then the neighbours' planes along the dims that are split."""
    n = 1024
    points = n**3 / 64
    there = GPU.all_to_all(8 * points) + NODE.all_to_all(8 * points)
    cube, fixed = 3 * transform(points, n), {"delta": BLOCKS, **{f"force_{d}": BLOCKS for d in "xyz"}}
    kernel = fused(points, 24 * points)

    spectral = forces(n, by_transforms=True)
    plan = plan_of(spectral, MESH, fixed=fixed)
    steps = fused(points, 16 * points + 8 * n) + 2 * fused(points, 16 * points + n)  # kx is whole, ky and kz in eighths
    by_transforms = 4 * cube + kernel + steps + 4 * there
    assert seconds(plan) == exactly(by_transforms)
    assert kinds(spectral, plan) == {"all_to_all": 8}

    local = forces(n, by_transforms=False)
    plan = plan_of(local, MESH, fixed=fixed)
    plane = 8 * n * n / 8
    stencils = 3 * work(4 * points, 16 * points)
    by_differences = 2 * cube + kernel + stencils + 2 * there + NODE.halo(plane) + GPU.halo(plane)
    assert seconds(plan) == exactly(by_differences)
    assert kinds(local, plan) == {"all_to_all": 4, "collective_permute": 4}
    assert by_differences < by_transforms


# --- 6: an axis too slow to use ---

SIZES = 32, 40, 2_000_000


def slow_links(bandwidth: float) -> Machine:
    """The machine with this bandwidth [B/s] between nodes, whatever the collective."""
    link = H100.across
    return dataclasses.replace(H100, across=dataclasses.replace(link, beta=tuple(bandwidth for _ in link.beta)))


def all_devices_throughout(bandwidth: float) -> float:
    """Pencils: every transform on 1/64 of the lines, one all-to-all on either axis."""
    points, machine = math.prod(SIZES) / 64, slow_links(bandwidth)
    moved = inside(8, machine).all_to_all(8 * points) + across(8, machine).all_to_all(8 * points)
    return sum(transform(points, n) for n in SIZES) + moved


def nodes_alike_at_first() -> float:
    """Every node transforms all lines along z, and keeps its share of the modes: nothing moves between nodes."""
    x, y, z = SIZES
    points = math.prod(SIZES) / 64
    return transform(8 * points, z) + transform(points, y) + transform(points, x) + GPU.all_to_all(8 * points)


def flip() -> float:
    """The bandwidth [B/s] at which both take as long: an all-to-all is paid or seven eighths of a transform."""
    points, z = math.prod(SIZES) / 64, SIZES[2]
    alpha = H100.across.times("all_to_all")[0]
    repack = 2 * 8 * points / (H100.efficiency * H100.memory_bandwidth)
    return 7 / 8 * 8 * points / (transform(8 * points, z) - transform(points, z) - 3 * alpha - repack)


@pytest.mark.parametrize("share", [0.25, 0.98, 1.02, 1.5])
def test_the_slow_axis_is_left_idle_up_to_the_bandwidth_where_an_all_to_all_pays(share):
    bandwidth = share * flip()
    program = fourier(*SIZES)
    plan = plan_of(program, MESH, machine=slow_links(bandwidth))
    assert seconds(plan) == exactly(min(all_devices_throughout(bandwidth), nodes_alike_at_first()))
    assert kinds(program, plan) == {"all_to_all": 1 if share < 1 else 2}
    assert ("node" in plan.layouts["delta"].used) == (share > 1)


def test_a_budget_below_the_replicated_size_uses_the_slow_axis_after_all():
    bandwidth, program = 0.98 * flip(), fourier(*SIZES)
    machine = slow_links(bandwidth)
    free = plan_of(program, MESH, machine=machine)
    split = plan_of(program, MESH, machine=machine, fixed={"delta": BLOCKS})
    assert split.prediction.peak_bytes < free.prediction.peak_bytes
    while seconds(lighter := plan_of(program, MESH, machine=machine, memory=free.prediction.peak_bytes - 1)) == seconds(
        free
    ):
        free = lighter  # of plans as fast as each other one that holds less
    for budget in (split.prediction.peak_bytes, free.prediction.peak_bytes - 1):
        tight = plan_of(program, MESH, machine=machine, memory=budget)
        assert seconds(tight) == exactly(all_devices_throughout(bandwidth))
        assert kinds(program, tight) == {"all_to_all": 2}
    assert seconds(plan_of(program, MESH, machine=machine, memory=free.prediction.peak_bytes)) == seconds(free)
