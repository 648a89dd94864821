"""Initial conditions of a simulation, from its end: the same model as 06_initial_conditions.ppl, by MAP and by HMC.

    python examples/06_initial_conditions.py [--draws 200] [--picture initial.png]

This is what FlowPM showed (Modi, Lanusse & Seljak 2020, arXiv:2010.11847): the gradient of a particle mesh in its 4096
initial modes finds them again, as far as the noise lets it, and HMC says how far that is.
"""

import argparse
from pathlib import Path

import numpy as np

import ppl
from ppl import cosmo

BOX = ("x", "y", "z")
CELL = 8.0  # [Mpc/h]


@ppl.model(dims={"x": 16, "y": 16, "z": 16})
def initial_conditions(observed: ppl.Data["x", "y", "z"]):
    white = ppl.sample("white", ppl.Normal(0, 1), dims=BOX)
    universe = cosmo.Planck15()
    particles = cosmo.simulate(white, universe, cell=CELL, steps=5, start=0.1, stepper="bullfrog")

    ppl.deterministic("initial", cosmo.linear_density(white, universe, cell=CELL), BOX)
    final = ppl.deterministic("final", cosmo.density(particles), BOX)
    ppl.observe("observed", ppl.Normal(final, 0.5), observed)


def simulate(seed: int = 1, **sizes: int) -> tuple[dict, dict]:
    """One draw from the prior: (data, truth)."""
    nothing = {"observed": np.zeros([sizes.get(d, 16) for d in BOX])}
    truth = ppl.compile(initial_conditions, nothing, sizes=sizes).draw_prior(seed)
    return {"observed": truth["observed"]}, truth


def correlation(a: np.ndarray, b: np.ndarray, shells: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """(k [h/Mpc], r(k)) of two fields in shells up to the Nyquist frequency."""
    axes = [2 * np.pi * np.fft.fftfreq(n, CELL) for n in a.shape]
    k = np.sqrt(sum(x**2 for x in np.meshgrid(*axes, indexing="ij"))).ravel()
    edges = np.linspace(0.5 * k[k > 0].min(), np.pi / CELL, shells + 1)
    fa, fb = np.fft.fftn(a).ravel(), np.fft.fftn(b).ravel()
    total = lambda x: np.histogram(k, edges, weights=x)[0]  # noqa: E731
    r = total((fa * fb.conj()).real) / np.sqrt(total(np.abs(fa) ** 2) * total(np.abs(fb) ** 2))
    return total(k) / np.histogram(k, edges)[0], r


def recover(data: dict, draws: int = 200, warmup: int = 150, **sizes: int) -> dict[str, dict[str, np.ndarray]]:
    """The mode and the posterior mean of the initial and the final density."""
    posterior = ppl.compile(initial_conditions, data, sizes=sizes)
    best = posterior.run(ppl.map(chains=1, warmup=300, draws=1), seed=1, predictive=False)
    found = posterior.run(
        ppl.hmc(chains=1, warmup=warmup, draws=draws, steps=20), seed=1, init=at(best), predictive=False
    )
    mode = {n: best[n][0, -1] for n in ("initial", "final")}
    return {"MAP": mode, "HMC, mean": {n: found[n].mean(axis=(0, 1)) for n in ("initial", "final")}}


def at(best) -> dict[str, np.ndarray]:
    return {"white": best["white"][0, -1]}


def picture(truth: dict, found: dict[str, dict[str, np.ndarray]], path: Path) -> None:
    """Slices of truth and recovery beside each other, and how well they agree by scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = {"truth": truth, **found}
    figure, rows = plt.subplots(2, len(columns) + 1, figsize=(16, 7), layout="constrained")
    side = CELL * truth["final"].shape[0]
    for row, name, label in zip(rows, ("initial", "final"), ("initial δ", "final 1 + δ"), strict=True):
        middle = truth[name].shape[2] // 2
        limits = {"vmin": np.quantile(truth[name], 0.01), "vmax": np.quantile(truth[name], 0.995)}
        for axes, (title, fields) in zip(row, columns.items(), strict=False):
            image = axes.imshow(fields[name][:, :, middle].T, origin="lower", extent=(0, side, 0, side), **limits)
            axes.set(title=f"{label}: {title}", xlabel="x [Mpc/h]", ylabel="y [Mpc/h]")
        figure.colorbar(image, ax=row[len(columns) - 1], shrink=0.8)
        for title, fields in found.items():
            row[-1].plot(*correlation(fields[name], truth[name]), "o-", label=title)
        row[-1].set(title=f"{label}: correlation with the truth", xlabel="k [h/Mpc]", ylabel="r(k)", ylim=(0, 1.03))
        row[-1].legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--warmup", type=int, default=150)
    parser.add_argument("--picture", type=Path, default=Path("initial.png"))
    options = parser.parse_args()
    data, truth = simulate()
    found = recover(data, options.draws, options.warmup)
    picture(truth, found, options.picture)
    for name, fields in found.items():
        k, r = correlation(fields["initial"], truth["initial"])
        print(f"{name}: r = {r[0]:.2f} at k = {k[0]:.2f} h/Mpc, {r[-1]:.2f} at {k[-1]:.2f}")
    print(f"the picture is {options.picture.resolve()}")
