"""Particle-mesh steps whose growth factors are inputs, in closed form: programs without tables, which compile fast."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import hyp2f1

from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.graph import Value
from ppl.cosmo.box import Box
from ppl.cosmo.lpt import lpt
from ppl.cosmo.mesh import ParticleMesh
from ppl.cosmo.nbody import STEP, Factors

from . import reference

OMEGA_M = 0.3


@dataclass(frozen=True)
class Stepping:
    """`count` steps even in a from `start` to `stop`, and 2LPT of a field of displacements of about `far` cells rms."""

    shape: tuple[int, ...]
    count: int
    start: float = 1 / 64
    stop: float = 1.0
    real: str = "f64"
    reach: int = 8
    kernel: str = "cic"
    far: float = 1.0

    @property
    def dims(self) -> tuple[Dim, ...]:
        return tuple(Dim(name, size) for name, size in zip("xyz", self.shape, strict=False))

    @property
    def type(self) -> TensorType:
        return TensorType(self.dims, self.real)

    @property
    def box(self) -> Box:
        return Box(self.dims, 1.0)

    @property
    def particles(self) -> ParticleMesh:
        return ParticleMesh(self.box, self.kernel, self.reach)

    @cached_property
    def growths(self) -> dict[str, Any]:
        """D1, G_D = a^2 E dD1 / dln a and their second orders at the times; `G_D middle` between them."""
        a = np.linspace(self.start, self.stop, self.count + 1)
        D1, G_D = _linear(a)
        _, _, D2, dD2 = reference.growth(self.start, Omega_m=OMEGA_M)
        turning = self.start**2 * reference.expansion(self.start, OMEGA_M)
        return {"D1": D1, "G_D": G_D, "G_D middle": _linear((a[1:] + a[:-1]) / 2)[1], "D2": D2, "G_D2": turning * dD2}

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Numbers for every input that the methods below declare, white noise and its transfer included."""
        g = self.growths
        momenta = np.concatenate([g["G_D"][:1], g["G_D middle"], g["G_D"][-1:]])
        kicks, drifts = np.diff(momenta) / g["D1"], np.diff(g["D1"]) / g["G_D middle"]
        k = [2 * np.pi * np.fft.fftfreq(n) for n in self.shape[:-1]] + [2 * np.pi * np.fft.rfftfreq(self.shape[-1])]
        square = sum(x**2 for x in np.meshgrid(*k, indexing="ij"))
        transfer = np.exp(-square) * self.far * len(self.shape) ** 0.5 * 2 / g["D1"][-1]
        white = np.random.default_rng(0).normal(size=self.shape)
        found = {"white": white, "transfer": transfer, "kick": kicks[:-1], "drift": drifts, "last kick": kicks[-1]}
        return found | {"D1": g["D1"][0], "D2": g["D2"], "G_D": g["G_D"][0], "G_D2": g["G_D2"]}

    def factors(self, b: Builder) -> Factors:
        t = TensorType((Dim(STEP, self.count),), self.real)
        kick, drift = b.input("kick", t, "data"), b.input("drift", t, "data")
        return Factors(kick, drift, b.input("last kick", TensorType((), self.real), "data"))

    def given(self, b: Builder) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """(displacements, momenta) that are inputs: see `first`."""
        x, p = (tuple(b.input(f"{n}.{d.name}", self.type, "data") for d in self.dims) for n in "xp")
        return x, p

    def first(self, *vectors: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs of `given`: D1 and G_D at the start times vectors, by dim."""
        sizes = {"x": self.growths["D1"][0], "p": self.growths["G_D"][0]}
        return {f"{n}.{d.name}": v * size for n, size in sizes.items() for d, v in zip(self.dims, vectors, strict=True)}

    def begun(self, b: Builder) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """(displacements, momenta) of 2LPT at the start, from the input `white`."""
        *some, last = self.dims
        half = (*(Dim(f"~{d.name}", d.size) for d in some), Dim(f"~{last.name}", last.size // 2 + 1))
        white = b.input("white", self.type, "latent")
        modes = b.input("transfer", TensorType(half, self.real), "data") * self.box.modes(white)
        vectors = lpt(modes, self.box)
        D1, D2, G_D, G_D2 = (b.input(n, TensorType((), self.real), "data") for n in ("D1", "D2", "G_D", "G_D2"))
        return vectors.at(D1, D2), vectors.at(G_D, G_D2)


def _linear(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """D1 and G_D for matter and a cosmological constant, by their closed form."""
    D1 = a * hyp2f1(1 / 3, 1, 11 / 6, -(a**3) * (1 - OMEGA_M) / OMEGA_M)
    fraction = OMEGA_M / (OMEGA_M + (1 - OMEGA_M) * a**3)
    return D1, a**2 * reference.expansion(a, OMEGA_M) * fraction * (2.5 * a - 1.5 * D1)


__all__ = ["OMEGA_M", "Stepping"]
