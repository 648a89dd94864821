"""pmpp and JaxPM on the simulation of `pm.py`: the same noise, starting time, number of steps and forces."""

# pyright: reportMissingImports=false
from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _pm_ours import START, Compiled, noise
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.yardsticks.cosmo.pmpp_runs import PARAMETERS
from tests.yardsticks.cosmo.stepping import Stepping

CELL = 4.0


def missing(package: str) -> str | None:
    """Why a peer cannot be measured."""
    try:
        __import__(package)
    except ImportError as e:
        return f"{package} is not installed ({e})"
    return None


def pmpp(side: int, steps: int, differentiated: bool) -> Compiled:
    """As its users run it: float32 fields, a float64 cosmology with tables of growth at its steps, its own adjoint."""
    from pmpp import Configuration
    from pmpp.cic.scatter import scatter
    from pmpp.cosmology.boltzmann import boltzmann
    from pmpp.cosmology.models import SimpleLCDM
    from pmpp.initial_conditions.lpt import lpt
    from pmpp.initial_conditions.modes import linear_modes
    from pmpp.nbody.solver import nbody

    with jax.enable_x64(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        conf = Configuration(CELL, (side,) * 3, mesh_shape=1, a_start=START, a_nbody_maxstep=1 / steps)
        assert len(conf.a_nbody) == steps + 1

        def variance(white: Any, parameters: Any) -> Any:
            cosmo = boltzmann(SimpleLCDM(conf).replace(**parameters), conf)
            first = lpt(linear_modes(jnp.fft.rfftn(white, norm="ortho"), cosmo, conf), cosmo, conf)
            first = first[0] if isinstance(first, tuple) else first
            last = nbody(first, cosmo, conf)
            last = last[0] if isinstance(last, tuple) else last
            return jnp.mean((scatter(last, conf) - 1) ** 2)

        f = jax.value_and_grad(variance, argnums=(0, 1)) if differentiated else variance
        arguments = jnp.asarray(noise(side)), {n: jnp.float64(x) for n, x in PARAMETERS.items()}
        made = jax.jit(f).lower(*arguments).compile()
        return Compiled.of(made, arguments, lambda found: found[0] if differentiated else found)


def jaxpm(side: int, steps: int, differentiated: bool, grid: tuple[int, int] | None = None, halo: int = 0) -> Compiled:
    """Float32, FastPM steps by `lax.scan`, each checkpointed; the gradient is in the noise alone, growth is numbers."""
    import jax_cosmo
    import jaxpm.distributed
    from jaxpm.distributed import autoshmap, fft3d, ifft3d
    from jaxpm.kernels import fftk
    from jaxpm.painting import cic_paint_dx
    from jaxpm.pm import lpt, pm_forces

    jaxpm.distributed.shard_map = _shard_map
    density = {"Omega_c": 0.25, "Omega_b": 0.05, "Omega_k": 0.0, "w0": -1.0, "wa": 0.0}
    # Two of one universe: jax_cosmo leaves a table of growth in the first which JaxPM would take for its own.
    first, cosmo = (jax_cosmo.Cosmology(h=0.7, n_s=0.96, sigma8=0.812114, **density) for _ in range(2))
    k = jnp.logspace(-4, 1, 128)
    power = jax_cosmo.power.linear_matter_power(first, k)
    numbers = {n: jnp.asarray(x, jnp.float32) for n, x in Stepping((side,) * 3, steps, start=START).inputs.items()}
    sharding = pencils(grid) if grid else None
    shared: Any = {"halo_size": halo, "sharding": sharding}
    # JaxPM's own `interpolate_power_spectrum` calls a function of jaxDecomp that has other arguments now.
    layout = (sharding.mesh, sharding.spec, sharding.spec) if sharding else (None, None, None)
    look_up = autoshmap(lambda waves: jnp.interp(waves, k, power), *layout)

    def force(x: Any) -> Any:
        return pm_forces(x, mesh_shape=(side,) * 3, paint_absolute_pos=False, **shared)

    def step(state: Any, now: Any) -> Any:
        x, p = state
        p = p + now[0] * force(x)
        return (x + now[1] * p, p), None

    def variance(white: Any) -> Any:
        modes = fft3d(white)
        waves = sum((w / CELL) ** 2 for w in fftk(modes)) ** 0.5
        modes = modes * jnp.sqrt(look_up(waves) / CELL**3)
        x, p, _ = lpt(cosmo, ifft3d(modes), a=START, order=2, **shared)
        (x, p), _ = jax.lax.scan(jax.checkpoint(step), (x, p), (numbers["kick"], numbers["drift"]))
        return jnp.mean((cic_paint_dx(x, **shared) - 1) ** 2)

    f = jax.value_and_grad(variance) if differentiated else variance
    white = jax.device_put(noise(side), sharding)
    made = jax.jit(f).lower(white).compile()
    return Compiled.of(made, (white,), lambda found: found[0] if differentiated else found)


def _shard_map(f: Any, mesh: Any, in_specs: Any, out_specs: Any, *_: Any) -> Any:
    """What JaxPM 0.1.6 calls, with more arguments by position than JAX 0.10 takes."""
    return jax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


def pencils(grid: tuple[int, int]) -> NamedSharding:
    """The layout of JaxPM's tests: x and y split."""
    return NamedSharding(Mesh(np.array(jax.devices()[:8]).reshape(grid), ("x", "y")), PartitionSpec("x", "y"))


def complex_poisson(side: int, grid: tuple[int, int]) -> Any:
    """The compiled inverse Laplacian by jaxDecomp's transforms, which are complex only."""
    from jaxdecomp import fftfreq3d, pfft3d, pifft3d

    sharding = pencils(grid)

    def solve(source: Any) -> Any:
        modes = pfft3d(source.astype(jnp.complex64))
        square = sum(w**2 for w in fftfreq3d(modes))
        return pifft3d(jnp.where(square > 0, -modes / jnp.where(square > 0, square, 1), 0)).real

    shape = jax.ShapeDtypeStruct((side,) * 3, jnp.float32, sharding=sharding)
    return jax.jit(solve, out_shardings=sharding).lower(shape).compile()
