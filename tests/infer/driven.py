"""Drives a method as the engine does, on one device: packed where it may be, one executable for all blocks."""

import jax
import jax.numpy as jnp
import numpy as np

from ir import counter
from ppl.infer.pack import Packing, packing
from ppl.infer.protocol import Handover, State
from tests.infer import drive


class Driven:
    """`options` on a target; `run(seed)` gives (draws after warm-up, info of them, info of warm-up), NumPy arrays.

    `spread`: starts are normal with this standard deviation. `hasty`: compiled without optimisation.
    """

    def __init__(self, options, space, target, spread=1.0, hasty=False):
        self.options, self.space, self.spread = options, space, spread
        self.packing = packing(space) if options.packs else Packing(space)
        packed = self.packing

        def flat(x):
            log_density, gradient = target(packed.unpack(x))
            return log_density, packed.pack(gradient)

        self.target, self.method = flat, options.method(packed.space, flat)
        self.length = -(-max(options.warmup, options.draws) // options.thin) * options.thin
        jit = drive.hasty if hasty else jax.jit
        self._begin, self._advance = jit(self.begin), jit(self._block)

    def begin(self, seed):
        """The first state, from overdispersed starts."""
        noise = self.space.normal(counter.derive(seed, 99, self.space.chain_ids()), 1)
        x = self.packing.pack({n: self.spread * v for n, v in noise.items()})
        log_density, gradient = self.target(x)
        state = State(x, gradient, log_density, jnp.zeros(self.space.chains, jnp.uint32))
        return self.method.start(seed, Handover(state))

    def _block(self, seed, state, schedule, limit):
        return self.method.advance(seed, state, schedule, limit, self.packing.unpack)

    def run(self, seed):
        key, schedule = counter.seed_key(seed), self.options.schedule()
        state, parts = self._begin(key), []
        for start, limit in ((0, self.options.warmup), (self.options.warmup, self.options.draws)):
            block = self._advance(key, state, schedule.part(start, self.length), np.int32(limit))
            state = block.state
            rows = lambda tree, n: jax.tree.map(lambda v: np.asarray(v)[:, :n], tree)  # noqa: E731
            parts.append((rows(block.draws, limit // self.options.thin), rows(block.info, limit)))
        (_, warm), (draws, info) = parts
        return draws, info, warm
