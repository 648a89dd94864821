"""The Wiener filter: the posterior of white noise seen through circulant operators in white noise, in closed form.

    w ~ N(0, 1),  d_i = H_i w + n_i,  n_i ~ N(0, s²)
    P = 1 + sum_i |F_i|² / s²,  E[w | d] = ifft(sum_i F_i* fft(d_i) / (s² P)),  var[w | d] = mean over modes of 1 / P

with F_i the transform of H_i's answer to an impulse. Nothing of the project is used here, only NumPy.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def operate(half: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A real operator given by its factors on the half of the modes that `rfft2` has."""
    return np.fft.irfft2(half * np.fft.rfft2(w), s=w.shape)


class Posterior(NamedTuple):
    """Mean map and the variance that every pixel has."""

    mean: np.ndarray
    variance: float


def wiener(shown: np.ndarray, seen: Sequence[np.ndarray], data: Sequence[np.ndarray], noise: float) -> Posterior:
    """The posterior of `operate(shown, w)` given that `data` are `operate(seen[i], w)` in noise of that deviation."""
    impulse = np.zeros(data[0].shape)
    impulse[0, 0] = 1
    target = np.fft.fft2(operate(shown, impulse))
    factors = [np.fft.fft2(operate(half, impulse)) for half in seen]
    precision = 1 + sum(abs(f) ** 2 for f in factors) / noise**2
    modes = sum(f.conj() * np.fft.fft2(d) for f, d in zip(factors, data, strict=True)) / (noise**2 * precision)
    return Posterior(np.fft.ifft2(target * modes).real, float(np.mean(abs(target) ** 2 / precision)))


def dense(shown: np.ndarray, seen: Sequence[np.ndarray], data: Sequence[np.ndarray], noise: float):
    """Mean and covariance by linear algebra, for fields of a few pixels."""
    shape = data[0].shape
    basis = np.eye(data[0].size).reshape(-1, *shape)
    columns = [np.stack([operate(half, e).ravel() for e in basis], axis=1) for half in (shown, *seen)]
    h = np.concatenate(columns[1:])
    d = np.concatenate([x.ravel() for x in data])
    covariance = np.linalg.inv(np.eye(h.shape[1]) + h.T @ h / noise**2)
    a = columns[0]
    return (a @ covariance @ h.T @ d / noise**2).reshape(shape), a @ covariance @ a.T
