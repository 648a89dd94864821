"""The Wiener filter of examples/01_mass_map.ppl at given hyper-parameters, in NumPy alone.

With amplitude and slope fixed the model is linear and Gaussian: d = A w + n. The mean of w given d solves
(1 + Aᵀ N⁻¹ A) w = Aᵀ N⁻¹ d, here by conjugate gradients; masked pixels have N⁻¹ = 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

RADIAN = 3437.75  # [arcmin]


class MassMap:
    """The linear operators of the model on a grid: white noise to convergence, and to the two shears."""

    def __init__(self, data: Mapping[str, Any], amp: float, slope: float):
        nx, ny = np.shape(data["e1"])
        self.shape = (nx, ny)
        lx = 2 * np.pi * np.fft.fftfreq(nx, 1 / nx)[:, None] / float(data["side_x"]) * RADIAN
        ly = 2 * np.pi * np.arange(ny // 2 + 1) / float(data["side_y"]) * RADIAN
        l2 = lx**2 + ly**2
        safe = np.where(l2 > 0, l2, 1.0)
        pixel = float(data["side_x"]) * float(data["side_y"]) / (RADIAN**2 * nx * ny)
        self.root = np.where(l2 > 0, np.sqrt(1e-9 * amp / pixel) * (np.maximum(l2, 1) / 1e6) ** (-slope / 4), 0.0)
        self.cos, self.sin = (lx**2 - ly**2) / safe, 2 * lx * ly / safe

    def back(self, modes: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(modes, s=self.shape)

    def kappa(self, white: np.ndarray) -> np.ndarray:
        return self.back(self.root * np.fft.rfft2(white))

    def shear(self, white: np.ndarray) -> np.ndarray:
        modes = self.root * np.fft.rfft2(white)
        return np.stack([self.back(self.cos * modes), self.back(self.sin * modes)])

    def transpose(self, shear: np.ndarray) -> np.ndarray:
        """The transpose of `shear`. A real multiplier in half-spectrum space is its own transpose where it is even in

        the frequency; along the Nyquist rows it is not, and only its even part acts on a real field.
        """
        total = np.zeros(self.shape)
        for multiplier, component in zip((self.cos, self.sin), shear, strict=True):
            total += self.back(self.root * multiplier * np.fft.rfft2(component))
        return total


def wiener_filter(
    data: Mapping[str, Any], amp: float, slope: float, tolerance: float = 1e-8
) -> tuple[np.ndarray, np.ndarray]:
    """(white, kappa): the posterior means at fixed amplitude and slope."""
    model = MassMap(data, amp, slope)
    precision = np.where(np.asarray(data["mask"]) > 0, 1 / np.asarray(data["noise"], float) ** 2, 0.0)
    shear = np.stack([np.asarray(data["e1"], float), np.asarray(data["e2"], float)])

    def apply(white: np.ndarray) -> np.ndarray:
        return white + model.transpose(precision * model.shear(white))

    white = np.zeros(model.shape)
    residual = model.transpose(precision * shear)
    direction, norm = residual.copy(), float(np.sum(residual**2))
    first = norm
    for _ in range(2000):
        if norm <= tolerance**2 * first:
            break
        image = apply(direction)
        step = norm / float(np.sum(direction * image))
        white += step * direction
        residual -= step * image
        new = float(np.sum(residual**2))
        direction, norm = residual + new / norm * direction, new
    return white, model.kappa(white)
