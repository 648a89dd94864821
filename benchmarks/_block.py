"""The compiled block of one of our samplers on a posterior: its optimised HLO, its memory, and a call that advances it.

`compiled_block` is all that the benchmarks know of how `ppl.infer` builds its programs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ppl.infer.options import Common
from ppl.infer.protocol import Handover
from ppl.infer.run import _Setup
from ppl.posterior import Posterior


@dataclass(frozen=True)
class Block:
    """A program of several transitions of one chain, of which no draw is kept."""

    text: str
    """XLA's optimised HLO."""
    memory: int
    """Bytes of temporaries, arguments and results on one device; aliased ones once, the model's data not."""
    workspace: int
    """Bytes of temporaries of the model's log density and gradient, compiled alone."""
    advance: Callable[[], int]
    """Runs the block on from where it stands; gives the gradients spent, once all is done."""


def held_bytes(compiled: Any, data: Mapping[str, Any]) -> int:
    """What a compiled program holds on one device beside its data: temporaries + arguments + results - aliased."""
    m = compiled.memory_analysis()
    given = sum(x.addressable_shards[0].data.nbytes for x in data.values())
    whole = m.temp_size_in_bytes + m.argument_size_in_bytes + m.output_size_in_bytes - m.alias_size_in_bytes
    return whole - given


def compiled_block(posterior: Posterior, options: Common, position: Mapping[str, np.ndarray] | None) -> Block:
    """The block of `options.draws` transitions, from a position of unconstrained values (None: never to be run)."""
    engine = _Setup.make(posterior, options, keep=(), predictive=False).engines[-1]
    compiled = engine.lowered().compile()
    schedule = options.schedule().part(0, engine.length)
    held: dict[str, Any] = {}
    if position is not None:
        stored = {n: engine.gradient.store(n, np.asarray(x)[None]) for n, x in position.items()}
        held = {"state": engine.start(1, Handover(engine.stand(stored)))}

    def advance() -> int:
        made = engine.advance(1, held["state"], schedule, engine.length)
        held.update(state=made.state)
        jax.block_until_ready(made.state)
        return int(np.asarray(made.info.leapfrogs).sum())

    workspace = engine.gradient.lowered().compile().memory_analysis().temp_size_in_bytes
    return Block(compiled.as_text(), held_bytes(compiled, engine.data), workspace, advance)
