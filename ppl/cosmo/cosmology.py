"""The parameters of a cosmology: numbers, or values of a model, in any mixture.

cosmo = Cosmology(Omega_m=ppl.sample("Omega_m", …), Omega_b=0.0486, h=0.6774, n_s=0.9667, sigma8=0.8159)
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import Any, ClassVar

from ir.build import diagnostic
from ir.graph import Value

from ..trace.records import Record
from .double import double

SPEED_OF_LIGHT = 2997.92458
"""c / H0 [Mpc/h]."""

_POSITIVE = ("Omega_m", "Omega_b", "h", "sigma8", "A_s", "T_cmb")


@dataclass(frozen=True)
class Cosmology(Record):
    """A universe of matter, curvature and dark energy with w(a) = w0 + wa (1 - a); radiation is left out.

    Omega_m is all matter today and Omega_b its baryons, in units of the critical density; dark energy is what is
    missing from 1. h is H0 [100 km/s/Mpc], T_cmb the temperature of the microwave background [K]. Linear power takes
    its amplitude from one of sigma8 (today's rms of the density in spheres of 8 Mpc/h) and A_s (of the primordial
    curvature, at 0.05/Mpc). Dark energy must vanish in the past: for w0 + wa >= 0 the growth is refused, or NaN.
    """

    kind: ClassVar[str] = "a cosmology"
    made_by: ClassVar[str] = "cosmology(Omega_m = 0.31, Omega_b = 0.05, h = 0.68, n_s = 0.97, sigma8 = 0.81)"

    Omega_m: Value | float
    Omega_b: Value | float
    h: Value | float
    n_s: Value | float
    sigma8: Value | float | None = None
    A_s: Value | float | None = None
    w0: Value | float = -1.0
    wa: Value | float = 0.0
    Omega_k: Value | float = 0.0
    T_cmb: Value | float = 2.7255

    def __post_init__(self):
        for f in dataclasses.fields(self):
            _check_field(f.name, getattr(self, f.name), f.default is None)
        known = {n: float(x) for n, x in vars(self).items() if isinstance(x, numbers.Real)}
        if known.get("Omega_b", 0.0) > known.get("Omega_m", math.inf):
            raise diagnostic(
                "argument",
                f"Omega_b = {known['Omega_b']:g} is more than Omega_m = {known['Omega_m']:g}",
                hint="Omega_m counts all matter, baryons included",
            )
        if known.get("w0", -math.inf) + known.get("wa", 0.0) >= 0:
            raise diagnostic(
                "argument",
                f"w0 + wa = {known['w0'] + known['wa']:g}: dark energy would rule the early universe",
                hint="w0 + wa is below 0",
            )
        if self.sigma8 is not None and self.A_s is not None:
            raise diagnostic("argument", "both sigma8 and A_s are given", hint="give one of them; the other follows")

    @property
    def Omega_de(self) -> Any:
        """Dark energy today."""
        return 1.0 - self.Omega_m - self.Omega_k

    def values(self) -> list[Value]:
        """The parameters that are values of a model."""
        return [x for x in vars(self).values() if isinstance(x, Value)]

    def in_double(self) -> Cosmology:
        """The same cosmology with every parameter as a float64 value."""
        return dataclasses.replace(self, **{n: double(x) for n, x in vars(self).items() if x is not None})


def _check_field(name: str, x: Any, optional: bool) -> None:
    """Refuses a parameter that is no real number or value, or outside its range."""
    if x is None and optional:
        return
    if isinstance(x, Value):
        if x.type.is_complex or x.type.dtype == "bool":
            raise diagnostic("argument", f"{name} is a real number, but got a value of {x.type.dtype}")
        return
    if not isinstance(x, numbers.Real) or isinstance(x, bool):
        hint = "a parameter is a number, or a value of the model; arrays enter a model as data"
        raise diagnostic("argument", f"{name} is a real number, but got {type(x).__name__}", hint=hint)
    x = float(x)
    if not math.isfinite(x) or (name in _POSITIVE and x <= 0):
        wanted = "a positive number" if name in _POSITIVE else "a finite number"
        raise diagnostic("argument", f"{name} is {wanted}, but got {x:g}", hint=_HINTS.get(name))
    if name == "h" and x > 10:
        raise diagnostic("argument", f"h is H0 in units of 100 km/s/Mpc, but got {x:g}", hint=f"write h = {x / 100:g}")


_HINTS = {
    "Omega_b": "a small one, as 1e-6, stands for no baryons",
    "A_s": "about 2e-9; 3.04 would be ln(1e10 A_s)",
}


def Planck15() -> Cosmology:
    """Planck 2015 (arXiv:1502.01589, table 4, last column). Omega_m is that of baryons and cold dark matter,
    (0.02230 + 0.1188) / h², which leaves the neutrinos out of 0.3089, as in astropy and jax-cosmo."""
    return Cosmology(Omega_m=0.3075, Omega_b=0.0486, h=0.6774, n_s=0.9667, sigma8=0.8159)


def Planck18() -> Cosmology:
    """Planck 2018 (arXiv:1807.06209, table 2, last column): Omega_b = 0.02242 / h², Omega_m with the neutrinos."""
    return Cosmology(Omega_m=0.3111, Omega_b=0.04897, h=0.6766, n_s=0.9665, sigma8=0.8102)


__all__ = ["SPEED_OF_LIGHT", "Cosmology", "Planck15", "Planck18"]
