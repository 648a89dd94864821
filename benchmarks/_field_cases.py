"""What the samplers of fields are measured on: a model in our language and the same log density in plain JAX.

The peers get the plain function, which is what their users would write, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import ppl

STEP = 1e-4
"""Of the integrators: so small that no trajectory turns, and every tree fills."""
LEAPFROGS = 7
DEPTH = 3

CELLS = """model cells
dim x
data y[x]: real
q[x] ~ Normal(0, 1)
y[x] ~ Normal(q, 0.5)
"""

BIASED = """model biased
dim x, y, z
data d[x, y, z]: real
offset      ~ Normal(0, 1)
slope       ~ Normal(1, 0.3)
curvature   ~ Normal(0, 0.1)
skewness    ~ Normal(0, 0.1)
noise       ~ LogNormal(0, 0.5)
q[x, y, z]  ~ Normal(0, 1)
mean[x, y, z] = offset + slope * q + curvature * q^2 + skewness * q^3    @nosave
d[x, y, z]  ~ Normal(mean, noise)
"""
"""A field and five scalars, whose gradients are sums over the field."""

OURS: dict[str, dict[str, Any]] = {
    "hmc": {"steps": LEAPFROGS, "jitter": 0.0},
    "nuts": {"max_depth": DEPTH},
    "mclmc": {"thin": 1, "length": 1.0},
    "mams": {"length": LEAPFROGS * STEP},
}
"""The options that fix the work of a transition."""


@dataclass(frozen=True)
class Case:
    """A model, its data, a position of unconstrained values, and the plain log density (position, data)."""

    name: str
    text: str
    data: dict[str, np.ndarray]
    position: dict[str, np.ndarray]
    log_density: Callable[[Any, Any], jax.Array]

    @property
    def latents(self) -> int:
        return sum(math.prod(x.shape) for x in self.position.values())

    def posterior(self, mesh: str) -> Any:
        return ppl.compile(ppl.from_text(self.text), self.data, mesh=mesh)

    def check_same(self, posterior: Any) -> None:
        """Raises where the two gradients differ by more than rounding in float32."""
        _, mine = posterior.value_and_gradient(self.position)
        theirs = jax.jit(jax.grad(self.log_density))(self.position, self.data)
        for name, g in theirs.items():
            if not np.allclose(mine[name], g, rtol=2e-3, atol=1e-3 * np.abs(g).max()):
                raise ValueError(f"the gradients of {self.name} in {name} differ: {mine[name]} and {g}")


def cells(count: int) -> Case:
    """Independent normal cells, each measured once."""
    y = np.random.default_rng(1).normal(size=count).astype(np.float32)

    def log_density(position: Any, data: Any) -> jax.Array:
        q = position["q"]
        return -0.5 * jnp.sum(q * q) - 2.0 * jnp.sum((data["y"] - q) ** 2)

    return Case(f"{count:.0e} cells", CELLS, {"y": y}, {"q": np.float32(0.8) * y}, log_density)


def biased(side: int) -> Case:
    """A cube of white noise that is seen through a polynomial of unknown coefficients, with unknown noise."""
    rng = np.random.default_rng(2)
    q = rng.normal(size=(side,) * 3).astype(np.float32)
    d = (0.1 + q + 0.05 * q * q + rng.normal(size=q.shape)).astype(np.float32)
    scalars = {"offset": 0.1, "slope": 1.0, "curvature": 0.05, "skewness": 0.0, "noise": 0.0}

    def log_density(p: Any, data: Any) -> jax.Array:
        q = p["q"]
        mean = p["offset"] + q * (p["slope"] + q * (p["curvature"] + q * p["skewness"]))
        prior = p["offset"] ** 2 + ((p["slope"] - 1) / 0.3) ** 2 + (p["noise"] / 0.5) ** 2
        prior = prior + (p["curvature"] ** 2 + p["skewness"] ** 2) / 0.01 + jnp.sum(q * q)
        residual = (data["d"] - mean) * jnp.exp(-p["noise"])
        return -0.5 * (prior + jnp.sum(residual**2)) - data["d"].size * p["noise"]

    position = {**{n: np.float32(v) for n, v in scalars.items()}, "q": q}
    return Case(f"{side}^3 field + 5 scalars", BIASED, {"d": d}, position, log_density)


def options_of(sampler: str, transitions: int, **further: Any) -> Any:
    """Our options for that much work, or the reason why there are none."""
    make = getattr(ppl, sampler, None)
    if make is None:
        return f"ppl.{sampler} does not exist yet"
    # A step of MCLMC is one gradient: as many of them as the others have leapfrogs.
    draws = transitions * (LEAPFROGS if sampler == "mclmc" else 1)
    try:
        return make(chains=1, draws=draws, warmup=0, block=draws, step_size=STEP, **OURS[sampler] | further)
    except ppl.Diagnostic as problem:
        return str(problem)
