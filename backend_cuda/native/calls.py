"""The calls of the compiled library as JAX functions: each takes and gives a token, and is differentiable and batched.

A token is a float32 zero that goes into a call and comes out of it, so that XLA can run calls in no other order than
that of the chain. As a float it has a cotangent: backward calls are chained by it too, in reverse, behind all forward
ones, since each also waits for the token that its forward call gave.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap

from .boxes import BoxProgram
from .communicator import Communicator
from .schedule import Schedule, schedule

Call = tuple[jax.Array, jax.Array]
"""A result and the token behind it."""

ADDED = ("float32", "float64", "int32", "int64", "complex64", "complex128")
"""Data types that the library adds."""
REDUCED = ADDED[:4]
"""Those of `all_reduce`."""
KINDS = {"sum": 0, "max": 1, "min": 2}

scheduled = lru_cache(maxsize=512)(schedule)


def first_token() -> jax.Array:
    return jnp.zeros(1, jnp.float32)


def serves(comm: Communicator | None, program: BoxProgram, dtype: np.dtype) -> bool:
    """Whether `exchange` can perform a program and its gradient: slots, dims and data types suffice."""
    if comm is None:
        return False
    for p in (program, program.transpose()):
        found = scheduled(p, dtype.itemsize, comm.piece_bytes)
        if found is None or found.slot_bytes > comm.slot_bytes or (found.unit == 0 and dtype.name not in ADDED):
            return False
    return True


def exchange(comm: Communicator, program: BoxProgram, x: jax.Array, token: jax.Array) -> Call:
    """The rank's result of a box program, of all ranks' blocks x. Ranks are those of the communicator.

    The gradient is the transposed program. Under `vmap` the blocks of a batch go in one call.
    """

    @custom_vmap
    def call(x: jax.Array, token: jax.Array) -> Call:
        found = scheduled(program, x.dtype.itemsize, comm.piece_bytes)
        assert found is not None
        return _exchange(comm, program, found, x, token)

    @call.def_vmap
    def _(size: int, batched: list[bool], x: jax.Array, token: jax.Array):
        if not batched[0]:
            return call(x, _one(token, batched[1])), (False, False)
        return exchange(comm, program.batched(size), x, _one(token, batched[1])), (True, False)

    def backward(g: jax.Array, token: jax.Array) -> Call:
        return exchange(comm, program.transpose(), g, token)

    return _differentiable(call, backward)(x, token)


def all_reduce(comm: Communicator, x: jax.Array, token: jax.Array, kind: str, order: Sequence[int]) -> Call:
    """The sum, maximum or minimum of all ranks' blocks, combined in this order of ranks: the same bits everywhere.

    The gradient of a sum is the sum of the cotangents, as that of `jax.lax.psum` without `check_vma`.
    """

    @custom_vmap
    def call(x: jax.Array, token: jax.Array) -> Call:
        return _all_reduce(comm, x, token, kind, order)

    @call.def_vmap
    def _(size: int, batched: list[bool], x: jax.Array, token: jax.Array):
        return all_reduce(comm, x, _one(token, batched[1]), kind, order), (batched[0], False)

    def backward(g: jax.Array, token: jax.Array) -> Call:
        if kind != "sum":
            raise NotImplementedError(f"the {kind} over ranks has no gradient")
        return all_reduce(comm, g, token, kind, order)

    return _differentiable(call, backward)(x, token)


def among(f: Callable[[jax.Array], jax.Array], x: jax.Array, token: jax.Array) -> Call:
    """f(x) for a collective f of XLA's own, at its place in the chain."""

    @jax.custom_vjp
    def op(x: jax.Array, token: jax.Array) -> Call:
        y = f(after(x, token))
        return y, after(token, y)

    def forward(x: jax.Array, token: jax.Array):
        y, pull = jax.vjp(f, after(x, token))
        done = after(token, y)
        return (y, done), (pull, done)

    def backward(kept, g: Call):
        pull, done = kept
        token = g[1] + done
        (gx,) = pull(after(g[0], token))
        return gx, after(token, gx)

    op.defvjp(forward, backward)
    return op(x, token)


@custom_vmap
def after(x: jax.Array, behind: jax.Array) -> jax.Array:
    """x, but not before `behind` is there. Without a gradient; x stays where it is if nobody else needs it."""
    aliases = {0: 0}
    call = jax.ffi.ffi_call("meshbayes_after", jax.ShapeDtypeStruct(x.shape, x.dtype), input_output_aliases=aliases)
    return call(x, behind)


@after.def_vmap
def _(size: int, batched: list[bool], x: jax.Array, behind: jax.Array):
    return after(x, behind), batched[0]


def _differentiable(call: Callable[..., Call], backward: Callable[..., Call]) -> Callable[..., Call]:
    """`call` with the gradient of a linear map: `backward` of the cotangent, behind the forward call."""

    @jax.custom_vjp
    def op(x: jax.Array, token: jax.Array) -> Call:
        return call(x, token)

    def forward(x: jax.Array, token: jax.Array):
        made = call(x, token)
        return made, (made[1], None if jnp.issubdtype(x.dtype, jnp.inexact) else x)

    def pullback(kept, g: Call):
        done, integers = kept
        if integers is not None:
            return np.zeros(integers.shape, jax.dtypes.float0), g[1] + done
        return backward(g[0], g[1] + done)

    op.defvjp(forward, pullback)
    return op


def _one(token: jax.Array, batched: bool) -> jax.Array:
    return token[0] if batched else token


def _place() -> jax.Array:
    """This device's place in the whole mesh."""
    names = jax.sharding.get_abstract_mesh().axis_names
    return jax.lax.axis_index(names).astype(jnp.int32).reshape(1)


def _exchange(comm: Communicator, program: BoxProgram, s: Schedule, x: jax.Array, token: jax.Array) -> Call:
    table = s.words.view(np.int32)  # pairs, which need no 64-bit mode
    digest = zlib.crc32(s.words.tobytes() + x.dtype.name.encode())
    results = (jax.ShapeDtypeStruct(program.result, x.dtype), jax.ShapeDtypeStruct((1,), jnp.float32))
    call = jax.ffi.ffi_call("meshbayes_exchange", results, input_output_aliases={2: 1})
    made = call(_place(), table, token, x, handle=np.int64(comm.handle), call=np.int64(digest), unit=np.int64(s.unit))
    return made[0], made[1]


def _all_reduce(comm: Communicator, x: jax.Array, token: jax.Array, kind: str, order: Sequence[int]) -> Call:
    digest = zlib.crc32(f"{kind} {order} {x.dtype.name} {x.shape}".encode())
    results = (jax.ShapeDtypeStruct(x.shape, x.dtype), jax.ShapeDtypeStruct((1,), jnp.float32))
    call = jax.ffi.ffi_call("meshbayes_all_reduce", results, input_output_aliases={1: 1})
    numbers = {"handle": comm.handle, "call": digest, "kind": KINDS[kind]}
    attributes = {k: np.int64(v) for k, v in numbers.items()}
    made = call(_place(), token, x, **attributes, order=np.array(order, np.int64))
    return made[0], made[1]
