"""Virtual ranks against the NumPy oracle: all box programs, and sums in the order of the ranks."""

import jax
import numpy as np
import pytest

from backend_cuda.native import BoxProgram, boxes
from backend_cuda.native.virtual import VirtualRanks
from ir.errors import Diagnostic, InternalError

PROGRAMS = {
    "all to all": boxes.all_to_all(5, (3, 10, 4), 0, 1),
    "uneven all to all": boxes.all_to_all(5, (3, 9, 4), 0, 1, size=13),
    "all gather": boxes.all_gather(5, (3, 10, 4), 1),
    "reduce scatter": boxes.reduce_scatter(5, (3, 10, 4), 1),
    "permute": boxes.permute(5, (3, 10, 4), [(0, 2), (2, 0), (1, 4)]),
    "around a ring": boxes.around((5,), [(-1,), (1,)], (7, 7), (True,)),
    "around a grid with ends": boxes.around((2, 3), [(-1, 1), (0, 1), (0, -1), (1, -1)], (2, 6, 6, 2), (True, False)),
    "boxes that overlap": BoxProgram.of(
        3, (4, 5), (6, 5), [(r, s, (r + s, 2 * s), (s, r), (2, 1)) for r in range(3) for s in range(3)]
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_box_program_on_stacked_blocks_is_that_of_numpy(name, dtype):
    program = PROGRAMS[name]
    blocks = np.random.default_rng(0).integers(-99, 99, (program.ranks, *program.shape)).astype(dtype)
    ranks = VirtualRanks(program.ranks, 1 << 16)
    with jax.enable_x64(True):
        twice = jax.jit(lambda x: (ranks.exchange(program, x), ranks.exchange(program, 2 * x)))(blocks)
    for factor, found in enumerate(twice, 1):
        np.testing.assert_array_equal(np.asarray(found), factor * np.stack(program.apply(list(blocks))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_reductions_combine_in_the_order_of_the_ranks(dtype):
    x = (np.random.default_rng(0).normal(size=(7, 5)) * 100).astype(dtype)
    ranks, total = VirtualRanks(7, 4096), x[0]
    for block in x[1:]:
        total = total + block
    with jax.enable_x64(True):
        found = jax.jit(lambda x: [ranks.all_reduce(x, kind) for kind in ("sum", "max", "min")])(x)
    for made, wanted in zip(found, (total, x.max(0), x.min(0)), strict=True):
        np.testing.assert_array_equal(np.asarray(made), np.broadcast_to(wanted, x.shape))


def test_what_does_not_fit_is_an_error_before_it_runs():
    ranks = VirtualRanks(5, 4096)
    with pytest.raises(InternalError, match="do not serve"):
        ranks.exchange(boxes.all_gather(5, (40, 40), 1), np.zeros((5, 40, 40), np.float32))  # type: ignore[arg-type]
    with pytest.raises(InternalError, match="is no stack"):
        ranks.exchange(PROGRAMS["permute"], np.zeros((4, 3, 10, 4), np.float32))  # type: ignore[arg-type]
    with pytest.raises(Diagnostic, match="no memory for virtual ranks"):
        VirtualRanks(2, 1 << 60)
