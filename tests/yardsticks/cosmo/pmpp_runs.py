"""Simulations by pmpp (PM++ 1.1.0, pmwd on one device), and `pmpp_numbers.json`, the numbers of them that tests keep.

    python -m tests.yardsticks.cosmo.pmpp_runs        (writes the numbers; needs pmpp and jax 0.10; a minute)

White noise comes from NumPy's `default_rng`, whose numbers do not depend on JAX's version. pmpp looks growth up in a
table, linearly: by default at the times of its steps and no others, which costs 1e-5 in a simulation; here it is dense
enough (2,000 knots) to be exact to 1e-7.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = Path(__file__).with_name("pmpp_numbers.json")
START = 1 / 64
PARAMETERS = {"A_s_1e9": 2.0, "n_s": 0.96, "Omega_m": 0.3, "Omega_b": 0.05, "h": 0.7}
"""pmpp's SimpleLCDM, by pmpp's names."""
KEPT = 60
"""Of each field so many values, of particles and cells that `default_rng(2)` draws."""
DIRECTIONS = (11, 12)
"""Seeds of the directions in white noise in which derivatives are kept."""


@dataclass(frozen=True)
class Case:
    """Particles on a grid of `shape` [cells of 4 Mpc/h], in `count` steps even in a from 1/64 to 1."""

    shape: tuple[int, int, int]
    count: int
    ratio: int = 1
    cell: float = 4.0

    @property
    def noise(self) -> np.ndarray:
        return np.random.default_rng(0).normal(size=self.shape)

    @property
    def times(self) -> np.ndarray:
        return np.linspace(START, 1, self.count + 1)

    def drawn(self, size: int) -> np.ndarray:
        return np.random.default_rng(2).choice(size, KEPT, replace=False)


CASES = {"steps": Case((32, 30, 36), 63), "fine": Case((16, 14, 18), 7, ratio=2), "gradient": Case((16, 14, 18), 4)}


class Peer:
    """pmpp set up for a case. Call it inside `jax.enable_x64(True)`."""

    def __init__(self, case: Case, order: int = 2):
        import jax.numpy as jnp
        from pmpp import Configuration

        self.case = case
        knots = np.unique(np.concatenate([np.linspace(START, 1, 2001), np.linspace(START, 1, 2 * case.count + 1)]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no GPU
            self.conf = Configuration(
                case.cell,
                case.shape,
                mesh_shape=case.ratio,
                float_dtype=jnp.dtype(jnp.float64),
                a_start=START,
                a_nbody_maxstep=1 / case.count,
                lpt_order=order,
                growth_rtol=1e-11,
                growth_atol=1e-11,
                growth_a_custom=tuple(np.concatenate([[START / 2], knots])),
                transfer_lgk_maxstep=1 / 2048,
            )
        np.testing.assert_allclose(self.conf.a_nbody, case.times, rtol=1e-12)
        # On a mesh finer than the particles pmpp's gravity leaves out the modes beyond the particles' own Nyquist
        # frequency; pmwd and we do not.
        object.__setattr__(self.conf, "particle_nyquist_masks", ())

    def begin(self, noise: Any, parameters: dict[str, Any]) -> Any:
        """Particles of perturbation theory at the start, and the cosmology."""
        import jax.numpy as jnp
        from pmpp.cosmology.boltzmann import boltzmann
        from pmpp.cosmology.models import SimpleLCDM
        from pmpp.initial_conditions.lpt import lpt
        from pmpp.initial_conditions.modes import linear_modes

        cosmo = boltzmann(SimpleLCDM(self.conf).replace(**parameters), self.conf)
        found = lpt(linear_modes(jnp.fft.rfftn(noise, norm="ortho"), cosmo, self.conf), cosmo, self.conf)
        return (found[0] if isinstance(found, tuple) else found), cosmo

    def run(self, noise: Any, parameters: dict[str, Any]) -> dict[str, Any]:
        """Displacements and momenta [particle, dim; Mpc/h] at both ends, and the density / mean at the last."""
        from pmpp.cic.scatter import scatter
        from pmpp.nbody.solver import nbody

        first, cosmo = self.begin(noise, parameters)
        made = nbody(first, cosmo, self.conf)
        last = made[0] if isinstance(made, tuple) else made
        found = {"x0": first.disp, "p0": first.vel, "x1": last.disp, "p1": last.vel}
        return found | {"density": scatter(last, self.conf) * 1.0}

    def variance(self, noise: Any, parameters: dict[str, Any]) -> Any:
        """The mean of the squared density contrast at the end."""
        return ((self.run(noise, parameters)["density"] - 1) ** 2).mean()


def fields(case: Case) -> dict[str, np.ndarray]:
    """What `Peer.run` finds, with the second order's part `second` of the first displacements."""
    import jax

    with jax.enable_x64(True):
        made = {name: np.asarray(x) for name, x in jax.jit(Peer(case).run)(case.noise, PARAMETERS).items()}
        alone, _ = jax.jit(Peer(case, order=1).begin)(case.noise, PARAMETERS)
        return made | {"second": made["x0"] - np.asarray(alone.disp)}


def derivatives(case: Case) -> dict[str, float]:
    """Central differences of pmpp's own variance: its adjoint is NaN where the growth's table has knots of its own.

    Steps are small, as the slopes of CIC jump where a particle passes a cell's centre.
    """
    import jax

    with jax.enable_x64(True):
        f = jax.jit(Peer(case).variance)
        found = {"variance": float(f(case.noise, PARAMETERS))}
        for name, x in PARAMETERS.items():
            step = 1e-6 * max(1, x)
            ends = [float(f(case.noise, {**PARAMETERS, name: x + s})) for s in (step, -step)]
            found[name] = (ends[0] - ends[1]) / (2 * step)
        for seed in DIRECTIONS:
            v = np.random.default_rng(seed).normal(size=case.shape)
            ends = [float(f(case.noise + s * v, PARAMETERS)) for s in (1e-6, -1e-6)]
            found[f"noise {seed}"] = (ends[0] - ends[1]) / 2e-6
        return found


def kept(case: Any, found: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of each field its rms, and values of some particles or cells."""
    rows: dict[str, Any] = {}
    for name, x in found.items():
        flat = x.reshape(-1) if name == "density" else x.reshape(-1, 3)
        values = np.round(flat[case.drawn(len(flat))], 12)
        rows[name] = {"rms": float(np.sqrt((x**2).mean())), "values": values.tolist()}
    return rows


def main() -> None:
    from importlib.metadata import version

    numbers: dict[str, Any] = {"pmpp": version("pmpp")}
    numbers |= {name: kept(case, fields(case)) for name, case in CASES.items() if name != "gradient"}
    numbers["gradient"] = derivatives(CASES["gradient"])
    NUMBERS.write_text(lines(numbers), encoding="utf-8")


def lines(numbers: dict[str, Any]) -> str:
    """JSON with a line for each field's numbers."""
    text = json.dumps(numbers)
    for mark in re.findall(r', ("[A-Za-z]\w*": [{\[])', text):
        text = text.replace(f", {mark}", f",\n{mark}")
    return text + "\n"


if __name__ == "__main__":
    main()
