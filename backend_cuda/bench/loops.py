"""Loops on the devices, so that a step's time is not that of starting a program, and a watch that times them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ..lax_collectives import LaxCollectives

Step = Callable[[LaxCollectives, jax.Array], jax.Array]
"""What one device does to its block, with the collectives of the trace; the result has the block's type."""

MOST_STEPS = 100_000


def looped(step: Step, comm: LaxCollectives, devices: jax.sharding.Mesh) -> Any:
    """The compiled loop: a function of the number of steps and the stored blocks [device, ...]."""

    def run(steps: jax.Array, x: jax.Array) -> jax.Array:
        chain = comm.opened((x,))

        def body(_: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            chain.resume(carry[1:])
            y = step(chain, carry[0])
            return (y, *chain.carried())

        made = jax.lax.fori_loop(jnp.int32(0), steps, body, (x[0], *chain.carried()))
        return made[0][None]

    spec = PartitionSpec(devices.axis_names)
    return jax.jit(jax.shard_map(run, mesh=devices, in_specs=(PartitionSpec(), spec), out_specs=spec, check_vma=False))


def stored(blocks: Callable[[int], np.ndarray], devices: jax.sharding.Mesh) -> jax.Array:
    """The blocks [device, ...] on their devices: that of place i of the mesh is `blocks(i)`."""
    split = NamedSharding(devices, PartitionSpec(devices.axis_names))
    shape = (devices.size, *blocks(0).shape)
    return jax.make_array_from_callback(shape, split, lambda index: blocks(_first(index))[None])


def _first(index: Any) -> int:
    """Where a range of the first axis begins."""
    return index[0].start or 0


def performs_ours(lowered: Any) -> bool:
    """Whether a lowered program has hand-written collectives in it, which leave to `jax.lax` what they do not do."""
    text = lowered.as_text()
    return "@meshbayes_exchange" in text or "@meshbayes_all_reduce" in text


@dataclass
class Watch:
    """Times a loop of about `aim` seconds; what an empty loop takes does not count.

    run: the loop, of a number of steps. agree: what processes that run it together say of the seconds that each took,
    so that all of them choose as many steps.
    """

    run: Callable[[int], Any]
    aim: float
    agree: Callable[[float], float] = lambda seconds: seconds
    empty: float = field(init=False)
    steps: int = field(init=False, default=1)

    def __post_init__(self) -> None:
        self._seconds(1)
        self.empty = min(self._seconds(0) for _ in range(5))
        while (once := self._seconds(self.steps)) < self.empty + self.aim and self.steps < MOST_STEPS:
            grow = min(8.0, max(2.0, self.aim / max(once - self.empty, 1e-9)))
            self.steps = min(MOST_STEPS, math.ceil(self.steps * grow))

    def seconds(self) -> float:
        """Of one step, in one more run of the loop."""
        taken = self._seconds(self.steps)
        return max(taken - self.empty, taken / 4) / self.steps

    def _seconds(self, steps: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(self.run(steps))
        return self.agree(time.perf_counter() - start)
