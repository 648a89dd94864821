"""One chain through a program that is more than one planned function: a sampler's loops around a model's gradient.

A sampler's sums and the collectives of the functions that it calls do not always need each other's results. Unordered,
two of them may run in one order on one device and in another order on its peer: each then waits for the other, or takes
the other's numbers. So the token lies in a place that all that is traced inside `chained` reads and writes. Where there
are loops that is a reference of JAX's: what JAX carries through loops and branches for a reference is then the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import jax

from ..lax_collectives import Axes, LaxCollectives
from .calls import first_token
from .collectives import NativeCollectives, Rules
from .communicator import Binding

_place: ContextVar[Any] = ContextVar("place", default=None)
"""`place[...]` is the token of the trace under way: a reference, or a dict of that one key. Each thread has its own."""


class InTurn(LaxCollectives):
    """Native collectives inside of `chained`, `jax.lax`'s outside of it: never both in one trace.

    Outside are traces for shapes alone, programs that only sum a few numbers once, and those that take forward
    derivatives, which native calls do not have.
    """

    def __init__(self, binding: Binding, rules: Rules = None):
        self.binding, self.rules = binding, rules
        self.name = "native" if rules is None else "native and jax.lax, as planned"

    def chained(self, f: Callable[..., Any], loops: bool = False) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            return _inside(jax.new_ref(first_token()) if loops else {...: first_token()}, f, *args)

        return run

    def vmap(self, f: Callable[..., Any], axis: int) -> Callable[..., Any]:
        if (place := _place.get()) is None:
            return super().vmap(f, axis)

        # JAX has no writing to a reference inside of vmap. Its calls are one for all of the batch, and so is the token.
        def one(token: jax.Array, *args: Any) -> Any:
            inner = {...: token}
            return _inside(inner, f, *args), inner[...]

        def run(*args: Any) -> Any:
            made, place[...] = jax.vmap(one, (None, *(axis for _ in args)), (axis, None))(place[...], *args)
            return made

        return run

    def opened(self, blocks: Sequence[jax.Array] = ()) -> LaxCollectives:
        return LaxCollectives() if (place := _place.get()) is None else _Continued(self.binding, place, self.rules)

    def all_reduce(self, x: jax.Array, axes: Axes, kind: str) -> jax.Array:
        return self._one(lambda comm: comm.all_reduce(x, axes, kind))

    def all_gather(self, x: jax.Array, axes: Axes, source: int) -> jax.Array:
        return self._one(lambda comm: comm.all_gather(x, axes, source))

    def _one(self, call: Callable[[LaxCollectives], jax.Array]) -> jax.Array:
        comm = self.opened()
        return comm.closed({"made": call(comm)})["made"]


class _Continued(NativeCollectives):
    """Goes on where the trace's chain stands, and leaves it where it ends."""

    def __init__(self, binding: Binding, place: Any, rules: Rules):
        super().__init__(binding, place[...], rules)
        self.place = place

    def closed(self, outputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        self.place[...] = self._token()
        return outputs


def _inside(place: Any, f: Callable[..., Any], *args: Any) -> Any:
    outer = _place.set(place)
    try:
        return f(*args)
    finally:
        _place.reset(outer)
