"""Matter in a box, from white noise to today: the same model as 05_structure.ppl, one draw of it, and its picture.

    python examples/05_structure.py [structure.npz] [--picture structure.png]

The draw is read from the file that `meshbayes predict` wrote, or made here.
"""

import argparse
from pathlib import Path

import numpy as np

import ppl
from ppl import cosmo

CELL = 4.0  # [Mpc/h]
BOX = ("x", "y", "z")


@ppl.model(dims={"x": 64, "y": 64, "z": 64, "shell": 24})
def structure():
    Omega_m = ppl.sample("Omega_m", ppl.TruncatedNormal(0.31, 0.02, lower=0.2, upper=0.4))
    sigma8 = ppl.sample("sigma8", ppl.TruncatedNormal(0.81, 0.02, lower=0.6, upper=1.0))
    white = ppl.sample("white", ppl.Normal(0, 1), dims=BOX)

    universe = cosmo.Cosmology(Omega_m=Omega_m, Omega_b=0.049, h=0.677, n_s=0.967, sigma8=sigma8)
    particles = cosmo.simulate(white, universe, cell=CELL, steps=10, start=0.1, stepper="bullfrog")
    seen = cosmo.redshift_space(particles, los="z")

    linear = ppl.deterministic("linear", cosmo.linear_density(white, universe, cell=CELL), BOX)
    delta = ppl.deterministic("delta", cosmo.density(particles) - 1, BOX)
    redshift = ppl.deterministic("redshift", cosmo.density(seen) - 1, BOX)

    k = ppl.deterministic("k", cosmo.mean_wavenumber(white, "shell", cell=CELL), "shell")
    ppl.deterministic("modes", cosmo.mode_count(white, "shell", cell=CELL), "shell")
    ppl.deterministic("theory", cosmo.linear_power(universe, k), "shell")
    ppl.deterministic("P_linear", cosmo.power_spectrum(linear, "shell", cell=CELL), "shell")
    ppl.deterministic("P_delta", cosmo.power_spectrum(delta, "shell", cell=CELL, window="cic"), "shell")
    how = {"cell": CELL, "window": "cic", "los": "z"}
    ppl.deterministic("P_redshift", cosmo.power_spectrum(redshift, "shell", **how), "shell")


def draw(seed: int = 1, **sizes: int) -> dict[str, np.ndarray]:
    """One draw of all quantities from the prior."""
    return ppl.compile(structure, sizes=sizes).draw_prior(seed)


def picture(drawn: dict[str, np.ndarray], path: Path) -> None:
    """Slabs of the linear, the evolved and the observed density, and the power of each beside linear theory."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    side = CELL * drawn["delta"].shape[0]
    figure, (*maps, panel) = plt.subplots(1, 4, figsize=(18, 4.4), layout="constrained", width_ratios=(1, 1, 1, 1.25))
    for axes, name, title in zip(
        maps, ("linear", "delta", "redshift"), ("linear", "evolved", "in redshift"), strict=True
    ):
        slab = drawn[name][:, :4].mean(axis=1)
        shown = slab if name == "linear" else np.log10(1.0 + np.maximum(slab, -0.98))
        image = axes.imshow(shown.T, origin="lower", extent=(0, side, 0, side), cmap="magma")
        figure.colorbar(image, ax=axes, shrink=0.8, label="δ" if name == "linear" else "log10(1 + δ)")
        axes.set(
            title=f"{title}, a slab of {4 * CELL:.0f} Mpc/h", xlabel="x [Mpc/h]", ylabel="z, line of sight [Mpc/h]"
        )
    k, error = drawn["k"], np.sqrt(2 / np.maximum(drawn["modes"], 1))
    panel.loglog(k, drawn["theory"], "k--", label="linear theory")
    for name, label in (("linear", "linear"), ("delta", "evolved"), ("redshift", "in redshift, monopole")):
        P = drawn[f"P_{name}"]
        panel.errorbar(k, P, P * error, fmt="o-", ms=3, lw=1, label=label)
    title = f"Omega_m = {drawn['Omega_m']:.3f}, sigma8 = {drawn['sigma8']:.3f}"
    panel.set(title=title, xlabel="k [h/Mpc]", ylabel="P(k) [(Mpc/h)³]")
    panel.set_xticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
    panel.set_xticks([], minor=True)
    panel.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--picture", type=Path, default=Path("structure.png"))
    options = parser.parse_args()
    drawn = draw() if options.file is None else dict(np.load(options.file))
    picture(drawn, options.picture)
    print(f"the picture is {options.picture.resolve()}")
