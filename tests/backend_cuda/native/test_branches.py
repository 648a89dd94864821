"""Native collectives in branches and in loops whose data decide: every device takes the branch that its peers take."""

import jax
import jax.numpy as jnp
import numpy as np

from backend_cuda import LAX
from backend_cuda.halo import Edge
from backend_cuda.native import NativeCollectives
from backend_cuda.native.in_turn import InTurn

from .virtual import binding, program, stack

MESH, ROW, ALL = "row=2,col=4", ("row",), ("row", "col")
LOW, HIGH, MOST = 6.0, 12.0, 40


def transposed(comm, x):
    y = comm.all_to_all(x, ROW, 0, 1)
    return jnp.sin(comm.all_to_all(y * jnp.float32(1.5), ROW, 1, 0)) + comm.all_reduce(x[0, 0], ALL, "max")


def spread(comm, x):
    edges = Edge(ROW, 0, 1, 2, 8), Edge(("col",), 1, 1, 4, 24)
    wide = comm.halo(x, *edges)
    return comm.spill(wide, *reversed(edges)) * jnp.float32(0.1)


def energy(comm, x):
    return comm.all_reduce(jnp.sum(x * x).reshape(1), ALL, "sum")[0]


def by_tokens(comm, x):
    """A loop in which an energy, the same on all devices, says which branch is next, until it is between two numbers.

    Loop and branches carry the token.
    """

    def branch(f):
        def run(x, *token):
            comm.resume(token)
            return (f(comm, x), *comm.carried())

        return run

    def step(carry):
        x, e, taken, *token = carry
        comm.resume(token)
        x, *token = jax.lax.cond(e > HIGH, branch(spread), branch(transposed), x, *comm.carried())
        comm.resume(token)
        taken = taken.at[(e > HIGH).astype(jnp.int32)].add(jnp.int32(1))
        return x, energy(comm, x), taken, *comm.carried()

    start = (x, energy(comm, x), jnp.zeros(2, jnp.int32), *comm.carried())
    x, e, taken, *token = jax.lax.while_loop(goes_on, step, start)
    comm.resume(token)
    return x, comm.all_gather(e.reshape(1), ROW, 0), taken


def goes_on(carry):
    _, e, taken, *_ = carry
    return ((e < LOW) | (e > HIGH)) & (taken.sum() < MOST)


def in_turn(comm, x):
    """The same loop, with the chain in a reference: whatever asks for collectives takes its turn."""

    def one(f, x):
        chain = comm.opened((x,))
        return chain.closed({"made": f(chain, x)})["made"]

    def step(carry):
        x, e, taken = carry
        x = jax.lax.cond(e > HIGH, lambda x: one(spread, x), lambda x: one(transposed, x), x)
        return x, one(energy, x), taken.at[(e > HIGH).astype(jnp.int32)].add(jnp.int32(1))

    x, e, taken = jax.lax.while_loop(goes_on, step, (x, one(energy, x), jnp.zeros(2, jnp.int32)))
    return x, comm.all_gather(e.reshape(1), ROW, 0), taken


def held_to_lax(body, native):
    x = stack(MESH, (4, 6, 3))
    ours, theirs = (program(body, comm, MESH, 1)(x) for comm in (native, LAX))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    taken = np.asarray(ours[2])
    assert (taken == taken[0]).all() and (taken[0] >= 2).all(), taken[0]
    text = program(body, native, MESH, 1).lower(x).as_text()
    assert "stablehlo.case" in text and "stablehlo.while" in text
    assert text.count("@meshbayes_") >= 8 and "stablehlo.all_" not in text


def test_a_loop_of_branches_has_the_bits_of_laxs_by_tokens():
    held_to_lax(by_tokens, NativeCollectives(binding(MESH)))


def test_a_loop_of_branches_has_the_bits_of_laxs_in_turn():
    held_to_lax(lambda comm, x: comm.chained(lambda x: in_turn(comm, x), loops=True)(x), InTurn(binding(MESH)))
