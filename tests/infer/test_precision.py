"""Energies of a compiled posterior in float32 against the same in float64, where float32 totals would be worthless.

A normal field with normal noise; prior and likelihood are per-element float32 terms, cast and added up in float64. At
10^7 latents the log density is 2 10^7, which float32 resolves to 2: a total in float32 loses the energy difference of a
trajectory, of order one, altogether.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppl
from ir import counter
from ppl.infer import block
from ppl.infer.engine import space_of
from ppl.infer.hmc import Hmc
from ppl.infer.leapfrog import leapfrog
from ppl.infer.metric import identity

KEY = counter.seed_key(7)


@ppl.model
def field(y: ppl.Data["cell"]):
    x = ppl.sample("x", ppl.Normal(0, 1), dims="cell")
    ppl.observe("y", ppl.Normal(x, 0.5), y)


class Compiled:
    """The posterior's gradient as a sampler's target, and a position in its typical set, in one dtype."""

    def __init__(self, size: int, dtype: str):
        rng = np.random.default_rng(0)
        y = rng.standard_normal(size, np.float32) * np.float32(1.118)
        # Posterior: mean 0.8 y, variance 0.2.
        x = np.float32(0.8) * y + np.float32(0.447) * rng.standard_normal(size, np.float32)
        posterior = ppl.compile(field, {"y": y.astype(dtype)}, dtype=dtype)
        self.gradient = posterior.gradient_program(1)
        self.space = space_of(self.gradient)
        self.data = posterior.hoisted(self.gradient)
        self.position = {"x": x[None].astype(dtype)}

    def target(self, data):
        def target(position):
            blocks = ({**position, **data}[i.name] for i in self.gradient.program.inputs)
            made = self.gradient.block(*blocks)
            return made["log_density"], {n: made[f"grad:{n}"] for n in position}

        return target


def energy_difference(size: int, dtype: str, steps: int = 10) -> float:
    """H after `steps` leapfrogs minus H before, from the same float32 position and momentum in either dtype."""
    with jax.enable_x64(True):
        case = Compiled(size, dtype)
        space = case.space

        def go(x, data):
            target, metric = case.target(data), identity(space)
            p = {n: v.astype(jnp.float32).astype(v.dtype) for n, v in space.normal(KEY, 1).items()}
            value, g = target(x)
            step_size = jnp.full(1, 0.9 * size**-0.25)
            start = 0.5 * space.dots([(p, p)])[0] - value

            def move(_, at):
                return leapfrog(space, target, metric, step_size, *at[:3])[:4]

            _, p, _, value = jax.lax.fori_loop(0, steps, move, (x, p, g, value))
            return 0.5 * space.dots([(p, p)])[0] - value - start

        return float(jax.jit(go)(case.position, case.data)[0])


def acceptances(size: int, dtype: str, transitions: int) -> np.ndarray:
    """The acceptance probability of each of a run of HMC transitions."""
    with jax.enable_x64(True):
        case = Compiled(size, dtype)

        def go(x, data):
            kernel = Hmc(case.space, case.target(data), steps=4)
            state = block.init(kernel, x)

            def one(state, _):
                state, info = block.transition(kernel, KEY, state, 1.2 * size**-0.25, identity(case.space))
                return state, info.accept_stat[0]

            return jax.lax.scan(one, state, None, length=transitions)[1]

        return np.asarray(jax.jit(go)(case.position, case.data))


def check_energy(size: int) -> None:
    single, double = (energy_difference(size, dtype) for dtype in ("float32", "float64"))
    assert 0.01 < abs(double) < 10  # a step size at which the Metropolis test decides
    assert abs(single - double) < 0.02


def check_acceptance(size: int) -> None:
    """Mean acceptance probabilities over 50 transitions, within 4 standard errors: a false alarm in 10^4.

    The runs share their noise, so they differ by far less until a decision differs.
    """
    single, double = (acceptances(size, dtype, 50) for dtype in ("float32", "float64"))
    error = np.sqrt((single.var() + double.var()) / 50)
    assert 0.3 < double.mean() < 0.98
    assert abs(single.mean() - double.mean()) < 4 * error
    assert np.median(np.abs(single - double)) < 0.02


def test_energy_difference_at_a_million_latents():
    check_energy(10**6)


def test_acceptance_at_a_hundred_thousand_latents():
    check_acceptance(10**5)


@pytest.mark.slow
def test_acceptance_at_a_million_latents():
    check_acceptance(10**6)


@pytest.mark.slow
def test_energy_difference_at_ten_million_latents():
    check_energy(10**7)


@pytest.mark.slow
def test_acceptance_at_ten_million_latents():
    check_acceptance(10**7)


@pytest.mark.slow
def test_energy_difference_at_a_hundred_million_latents():
    need = 12e9  # bytes: data, position, momentum and gradient in float64, twice while a step is made
    have = available_memory()
    if have < need:
        pytest.skip(f"needs {need / 1e9:.0f} GB of memory, but {have / 1e9:.0f} GB are available")
    check_energy(10**8)


def available_memory() -> float:
    """Bytes that may be allocated without swapping; unlimited where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            told = dict(line.split(":") for line in file)
        return float(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return float("inf")
