"""Fields by JaxPM 0.1.6, and `jaxpm_numbers.json`, the numbers of them that tests keep: its finite-difference kernel.

    python -m tests.yardsticks.cosmo.jaxpm_runs        (writes the numbers; needs jaxpm and jax_cosmo)

Growth is left out of it: JaxPM's second order at a is 3/7 D2(a) / D2(1), 0.9 % less than D2(a) / D1(1)^2, and its
tables are exact to some 1e-4. What is compared are the vectors that growth multiplies.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .pmpp_runs import kept, lines

NUMBERS = Path(__file__).with_name("jaxpm_numbers.json")


@dataclass(frozen=True)
class Case:
    """A smooth density contrast, and displacements [cells] of particles in other directions than its own."""

    shape: tuple[int, int, int] = (16, 14, 18)

    @property
    def delta(self) -> np.ndarray:
        k = np.sqrt(sum(f**2 for f in np.meshgrid(*map(np.fft.fftfreq, self.shape), indexing="ij"))) * 2 * np.pi
        modes = np.fft.fftn(np.random.default_rng(0).normal(size=self.shape)) * np.exp(-0.5 * k**2)
        return np.fft.ifftn(modes).real

    @property
    def moved(self) -> np.ndarray:
        return np.random.default_rng(1).normal(scale=1.5, size=(*self.shape, 3))

    def drawn(self, size: int) -> np.ndarray:
        return np.random.default_rng(2).choice(size, 60, replace=False)


CASE = Case()


def fields() -> dict[str, np.ndarray]:
    """s1 and s2 of 2LPT and the gravity of displaced particles, [..., dim] in cells."""
    import jax
    import jax.numpy as jnp
    import jax_cosmo
    from jaxpm.distributed import fft3d
    from jaxpm.growth import growth_factor_second
    from jaxpm.pm import lpt, pm_forces

    with jax.enable_x64(True):
        delta, moved = jnp.asarray(CASE.delta), jnp.asarray(CASE.moved)
        first = pm_forces(jnp.zeros_like(moved), delta=fft3d(delta), paint_absolute_pos=False)
        cosmo = jax_cosmo.Planck15()
        one, two = (lpt(cosmo, delta, a=1.0, order=n)[0] for n in (1, 2))
        second = (two - one) / (3 / 7 * growth_factor_second(cosmo, jnp.atleast_1d(1.0)))
        gravity = pm_forces(moved, mesh_shape=CASE.shape, paint_absolute_pos=False)
        return {n: np.asarray(x) for n, x in {"first": first, "second": second, "gravity": gravity}.items()}


def main() -> None:
    from importlib.metadata import version

    numbers: dict[str, Any] = {"jaxpm": version("jaxpm"), **kept(CASE, fields())}
    NUMBERS.write_text(lines(numbers), encoding="utf-8")


if __name__ == "__main__":
    main()
