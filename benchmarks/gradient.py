"""Value and gradient of the log density against NumPyro's: dependent evaluations in one compiled loop, one device.

Each evaluation starts from a position that the one before has moved, so none can be left out or overlapped. Both run
in float32 in the same process, in alternation; the ratio is ours / NumPyro's.
"""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from _harness import alternate, arguments, report, row
from numpyro.infer.util import initialize_model

import ppl

EXAMPLES = Path(__file__).parent.parent / "examples"
STEP = 1e-6


@ppl.model
def logistic(x: ppl.Data["obs", "feature"], y: ppl.Count["obs"]):
    intercept = ppl.sample("intercept", ppl.Normal(0, 5))
    beta = ppl.sample("beta", ppl.Normal(0, 2), dims="feature")
    ppl.observe("y", ppl.Bernoulli(logits=intercept + ppl.contract(x, beta, over="feature")), y)


def numpyro_logistic(x, y):
    intercept = numpyro.sample("intercept", dist.Normal(0, 5))
    beta = numpyro.sample("beta", dist.Normal(0, 2).expand([x.shape[1]]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=intercept + x @ beta), obs=y)


def numpyro_eight_schools(y, sigma):
    mu = numpyro.sample("mu", dist.Normal(0, 5))
    tau = numpyro.sample("tau", dist.HalfCauchy(5))
    raw = numpyro.sample("theta_raw", dist.Normal(0, 1).expand([len(y)]).to_event(1))
    numpyro.sample("y", dist.Normal(mu + tau * raw, sigma), obs=y)


def numpyro_mass_map(side_x, side_y, e1, e2, noise, mask):
    nx, ny = e1.shape
    amp = numpyro.sample("amp", dist.LogNormal(0, 1))
    slope = numpyro.sample("slope", dist.Normal(1.5, 0.5))
    white = numpyro.sample("white", dist.Normal(0, 1).expand([nx, ny]).to_event(2))
    lx = (2 * np.pi * np.fft.fftfreq(nx) * nx / side_x * 3437.75).astype(np.float32)[:, None]
    ly = (2 * np.pi * np.fft.rfftfreq(ny) * ny / side_y * 3437.75).astype(np.float32)
    l2 = np.maximum(lx**2 + ly**2, 1)
    pixel = side_x * side_y / (3437.75**2 * nx * ny)
    root = jnp.where(lx**2 + ly**2 > 0, jnp.exp(-0.25 * slope * np.log(l2 / 1e6)), 0)
    modes = jnp.sqrt(1e-9 * amp / pixel) * root * jnp.fft.rfft2(white)
    shear1 = jnp.fft.irfft2((lx**2 - ly**2) / l2 * modes, s=(nx, ny))
    shear2 = jnp.fft.irfft2(2 * lx * ly / l2 * modes, s=(nx, ny))
    with numpyro.handlers.mask(mask=mask):
        numpyro.sample("e1", dist.Normal(shear1, noise), obs=e1)
        numpyro.sample("e2", dist.Normal(shear2, noise), obs=e2)


def cases(quick: bool) -> list[tuple[str, Any, Any, dict[str, Any], int]]:
    """(name, our model, NumPyro's model, data, evaluations)."""
    rng = np.random.default_rng(1)
    n, d = 10_000, 20
    x = rng.normal(size=(n, d)).astype(np.float32)
    y = (rng.uniform(size=n) < 1 / (1 + np.exp(-x @ rng.normal(size=d)))).astype(np.int32)
    schools = runpy.run_path(str(EXAMPLES / "04_eight_schools.py"))
    sky = runpy.run_path(str(EXAMPLES / "01_mass_map.py"))
    maps = {k: np.float32(v) if k != "mask" else v for k, v in sky["simulate"](256)[0].items()}
    eight = {k: np.float32(schools["DATA"][k]) for k in ("y", "sigma")}
    big = ppl.load(EXAMPLES / "01_mass_map.ppl")
    few = 100 if quick else 1000
    return [
        ("eight schools", schools["eight_schools"], numpyro_eight_schools, eight, 1000),
        ("logistic 10000x20", logistic, numpyro_logistic, {"x": x, "y": y}, few),
        ("mass map 256x256", big, numpyro_mass_map, maps, few),
    ]


def loop(value_and_gradient: Callable[[Any], Any], count: int) -> Callable[[Any], Any]:
    """`count` dependent evaluations from a position: the last position and the sum of the values."""

    def step(_: int, carry: Any) -> Any:
        position, total = carry
        value, gradient = value_and_gradient(position)
        moved = jax.tree.map(lambda p, g: p + jnp.asarray(STEP, p.dtype) * g.astype(p.dtype), position, gradient)
        return moved, total + value

    def run(position: Any) -> Any:
        zero = jax.eval_shape(lambda p: value_and_gradient(p)[0], position)
        return jax.lax.fori_loop(0, count, step, (position, jnp.zeros((), zero.dtype)))

    return run


def measure(name: str, ours: Any, theirs: Any, data: dict[str, Any], count: int, repeats: int) -> dict[str, Any]:
    sizes = {"x": 256, "y": 256} if "mass map" in name else None
    posterior = ppl.compile(ours, data, sizes=sizes)
    info = initialize_model(jax.random.key(0), theirs, model_args=tuple(data.values()))
    start = {n: np.asarray(v, np.float32) for n, v in info.param_info.z.items()}
    start = {n: 0.1 * np.ones_like(v) for n, v in start.items()}
    their_function = jax.value_and_grad(info.potential_fn)
    value, gradient = posterior.value_and_gradient(start)
    their_value, their_gradient = jax.jit(their_function)(start)
    worst = max(float(np.max(np.abs(gradient[n] + their_gradient[n]))) for n in start)
    scale = max(float(np.max(np.abs(g))) for g in their_gradient.values())
    with jax.enable_x64(True):
        held = jax.tree.map(jnp.asarray, start)
        our_loop = jax.jit(loop(posterior._value_and_gradient, count)).lower(held).compile()
    their_loop = jax.jit(loop(their_function, count)).lower(start).compile()
    seconds = alternate(
        {
            "ours": lambda: jax.block_until_ready(our_loop(held)),
            "peer": lambda: jax.block_until_ready(their_loop(start)),
        },
        repeats,
    )
    made = row(name, "seconds per value and gradient", seconds, count, f"numpyro {numpyro.__version__}", 1.0)
    made["gradient difference / largest"] = worst / scale
    made["values"] = [float(value), -float(their_value)]
    return made


if __name__ == "__main__":
    options = arguments(__doc__ or "")
    rows = [measure(*case, repeats=3 if options.quick else 9) for case in cases(options.quick)]
    report("gradient", rows, ("jax", "jaxlib", "numpyro"), options.json)
