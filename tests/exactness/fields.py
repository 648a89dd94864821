"""Cases of fields: Wiener filters in two and three dims, and a field with an unknown amplitude.

White noise w is seen as d = ifft(T fft(w)) + noise. Mode by mode, with the unitary transform, w given d is normal of
variance v = 1 / (1 + T^2 / s^2) and mean v T d / s^2, independently. Statistics are of bands of |k|, in whole waves per
side:

    mean    <mu, w> / |mu|^2 over the modes of a band, mu the exact mean: 1 where the draws' mean has its power
    power   the mean of |w - mu|^2 / v over the modes of a band: 1 where the draws have the posterior's variance
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import stats

from tests.exactness.case import Case, Draws, Moment
from tests.yardsticks.agree import MODELS
from tests.yardsticks.amplitude import grid, simulate

WIDTH = 4
"""Of a band, in waves per side."""

VOLUME = """
model white_volume                         # white noise seen through a transfer function in noise
dim x, y, z
dim kx = freq(x), ky = freq(y), kz = rfreq(z)
const noise: real<lower = 0>
data transfer[kx, ky, kz]: real<lower = 0>
data d[x, y, z]: real

white[x, y, z] ~ Normal(0, 1)
d[x, y, z] ~ Normal(irfft(transfer * rfft(white, x -> kx, y -> ky, z -> kz), kx -> x, ky -> y, kz -> z), noise)
"""


class Bands(NamedTuple):
    """The modes of a real field on the half plane that `rfftn` has, by band."""

    shape: tuple[int, ...]
    k: np.ndarray  # waves per side
    number: np.ndarray  # the band of each mode
    twice: np.ndarray  # 2 where the half plane leaves out the mirror image

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> "Bands":
        n = shape[-1]
        axes = [np.fft.fftfreq(m, 1 / m) for m in shape[:-1]] + [np.fft.rfftfreq(n, 1 / n)]
        k = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij")))
        edge = np.isin(np.arange(n // 2 + 1), (0, n // 2 if n % 2 == 0 else 0))
        return cls(shape, k, (k / WIDTH).astype(int), np.broadcast_to(np.where(edge, 1.0, 2.0), k.shape))

    def modes(self, field: np.ndarray) -> np.ndarray:
        """The unitary transform of fields [..., *shape]."""
        axes = tuple(range(-len(self.shape), 0))
        return np.fft.rfftn(field, axes=axes, norm="ortho")

    def total(self, x: np.ndarray) -> np.ndarray:
        """The sums [..., band] over all modes of a band of x[..., *modes], which is even."""
        weighted = (x * self.twice).reshape(-1, self.k.size)
        count = self.number.max() + 1
        found = [np.bincount(self.number.ravel(), row, count) for row in weighted]
        return np.array(found).reshape(*x.shape[: x.ndim - self.k.ndim], count)


class Seen(NamedTuple):
    """Exact modes of the posterior."""

    mean: np.ndarray
    variance: np.ndarray


def filtered(transfer: np.ndarray, data: np.ndarray, noise: float) -> Seen:
    """The Wiener filter, from the modes of the data."""
    variance = 1 / (1 + (transfer / noise) ** 2)
    return Seen(variance * transfer / noise**2 * data, variance)


def _draw(bands: Bands, rng: np.random.Generator, seen: Seen) -> np.ndarray:
    """A field of these modes."""
    modes = seen.mean + seen.variance**0.5 * bands.modes(rng.normal(size=bands.shape))
    return np.fft.irfftn(modes, s=bands.shape, norm="ortho", axes=range(len(bands.shape)))


def _by_chain(bands: Bands, white: np.ndarray, f) -> np.ndarray:
    """f of the modes of each draw, [chain, draw, ...]: a row at a time, as modes of all draws may not fit."""
    return np.array([[f(bands.modes(x.astype(float))) for x in chain] for chain in white])


@functools.cache
def wiener(shape: tuple[int, ...], slope: float, amplitude: float) -> Case:
    """White noise seen through amplitude / k^slope in noise 1."""
    rng = np.random.default_rng(2)
    bands = Bands.of(shape)
    safe = np.where(bands.k > 0, bands.k, 1.0)
    transfer = np.where(bands.k > 0, amplitude / safe**slope, 0.0)
    truth, noise = rng.normal(size=(2, *shape))
    data = np.fft.irfftn(transfer * bands.modes(truth), s=shape, norm="ortho", axes=range(len(shape))) + noise
    exact = filtered(transfer, bands.modes(data), 1.0)
    square, count = bands.total(abs(exact.mean) ** 2), bands.total(np.ones(bands.k.shape))
    mean_sd = bands.total(abs(exact.mean) ** 2 * exact.variance) ** 0.5 / square

    def statistics(draws: Draws) -> dict[str, np.ndarray]:
        both = _by_chain(
            bands,
            draws["white"],
            lambda w: np.stack(
                [
                    bands.total((w * exact.mean.conj()).real) / square,
                    bands.total(abs(w - exact.mean) ** 2 / exact.variance) / count,
                ]
            ),
        )
        return {"mean": both[:, :, 0], "power": both[:, :, 1]}

    def others(draws: Draws) -> dict[str, np.ndarray]:
        """Chains are independent: by band, the mean of all chains is off by as much as they differ."""
        chains = bands.modes(draws["white"].mean(axis=1, dtype=float))
        c, centre = len(chains), chains.mean(axis=0)
        between = bands.total(abs(chains - centre) ** 2).sum(axis=0) / (c - 1)
        ratio = c * bands.total(abs(centre - exact.mean) ** 2) / between
        return {"error of the mean": stats.norm.isf(stats.f(count, (c - 1) * count).sf(ratio))}

    def direct(rng: np.random.Generator, n: int) -> Draws:
        return {"white": np.array([[_draw(bands, rng, exact) for _ in range(n)] for _ in range(4)])}

    text = (MODELS / "white_field.ppl").read_text() if len(shape) == 2 else VOLUME
    return Case(
        model=text,
        data={"noise": 1.0, "transfer": transfer, "d": data},
        exact={"mean": Moment(1.0, mean_sd), "power": Moment(1.0, (2 / count) ** 0.5, of=count)},
        statistics=statistics,
        direct=direct,
        others=others,
        dtype="float32",
        from_mode=lambda draws: abs(bands.modes(draws["white"].astype(float)) - exact.mean) / exact.variance**0.5,
    )


@functools.cache
def amplitude() -> Case:
    """The field whose amplitude is unknown too: moments are sums over amplitudes of those of Wiener filters."""
    transfer, data = simulate()
    bands = Bands.of(data.shape)
    half, seen = transfer[:, : data.shape[1] // 2 + 1], bands.modes(data)
    a, weight = grid(transfer, data, 401)
    a, weight = a[weight > 1e-12], weight[weight > 1e-12]
    centre = weight @ a
    sd = (weight @ (a - centre) ** 2) ** 0.5
    low, high = np.interp((0.05, 0.95), np.cumsum(weight) - weight / 2, a)

    each = [filtered(np.exp(x) * half, seen, 1.0) for x in a]
    mean = sum(w * e.mean for w, e in zip(weight, each, strict=True))
    square, count = bands.total(abs(mean) ** 2), bands.total(np.ones(bands.k.shape))
    projected = np.array([bands.total((e.mean * mean.conj()).real) / square for e in each])
    spread = np.array([bands.total(abs(mean) ** 2 * e.variance) / square**2 for e in each])
    mean_sd = (weight @ (spread + (projected - 1) ** 2)) ** 0.5
    # Of sums of squares of independent normals: mean m^2 + v and variance 2 v^2 + 4 m^2 v a degree of freedom.
    power = np.array([bands.total(abs(e.mean) ** 2 + e.variance) / count for e in each])
    noise = np.array([bands.total(2 * e.variance**2 + 4 * abs(e.mean) ** 2 * e.variance) / count**2 for e in each])
    mean_power = weight @ power
    power_sd = (weight @ (noise + (power - mean_power) ** 2)) ** 0.5

    def statistics(draws: Draws) -> dict[str, np.ndarray]:
        ln_amp, white = draws["ln_amp"], draws["white"]
        both = _by_chain(
            bands,
            white,
            lambda w: np.stack([bands.total((w * mean.conj()).real) / square, bands.total(abs(w) ** 2) / count]),
        )
        z = (ln_amp - centre) / sd
        bands_of = {"mean": both[:, :, 0], "power": both[:, :, 1]}
        return {"ln_amp": z, "ln_amp^2": z**2, "low": ln_amp < low, "high": ln_amp > high, **bands_of}

    def direct(rng: np.random.Generator, n: int) -> Draws:
        which = rng.choice(len(a), size=(4, n), p=weight / weight.sum())
        return {"ln_amp": a[which], "white": np.array([[_draw(bands, rng, each[i]) for i in row] for row in which])}

    fourth = weight @ ((a - centre) / sd) ** 4
    tails = Moment(0.05, (0.05 * 0.95) ** 0.5)
    return Case(
        model=(MODELS / "free_amplitude.ppl").read_text(),
        data={"transfer": half, "d": data},
        exact={
            "ln_amp": Moment(0.0, 1.0),
            "ln_amp^2": Moment(1.0, (fourth - 1) ** 0.5),
            "low": tails,
            "high": tails,
            "mean": Moment(1.0, mean_sd),
            "power": Moment(mean_power, power_sd, of=count),
        },
        statistics=statistics,
        direct=direct,
    )
