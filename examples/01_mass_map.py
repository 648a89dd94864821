"""A Bayesian weak-lensing mass map: the same model as 01_mass_map.ppl, and a simulated survey patch."""

import numpy as np

import ppl

RADIAN = 3437.75  # [arcmin]


@ppl.model(dims={"x": 64, "y": 64, "kx": ppl.freq("x"), "ky": ppl.rfreq("y")})
def mass_map(
    side_x: ppl.Data(lower=0),
    side_y: ppl.Data(lower=0),
    e1: ppl.Data["x", "y"],
    e2: ppl.Data["x", "y"],
    noise: ppl.Data["x", "y"](lower=0),
    mask: ppl.Flag["x", "y"],
):
    amp = ppl.sample("amp", ppl.LogNormal(0, 1))
    slope = ppl.sample("slope", ppl.Normal(1.5, 0.5))
    white = ppl.sample("white", ppl.Normal(0, 1), dims=("x", "y"))

    def aside(name, value, dims=()):
        return ppl.deterministic(name, value, dims, saved=False)

    lx = aside("lx", ppl.wavenumber("kx", side_x / RADIAN), "kx")
    ly = aside("ly", ppl.wavenumber("ky", side_y / RADIAN), "ky")
    l2 = aside("l2", ppl.maximum(lx**2 + ly**2, 1), ("kx", "ky"))
    pixel = aside("pixel", side_x * side_y / (RADIAN**2 * ppl.size("x") * ppl.size("y")))
    root = ppl.where(lx**2 + ly**2 > 0, ppl.exp(-0.25 * slope * ppl.log(l2 / 1e6)), 0)
    shape = aside("shape", root, ("kx", "ky"))
    modes = aside("modes", ppl.sqrt(1e-9 * amp / pixel) * shape * ppl.rfft(white, x="kx", y="ky"), ("kx", "ky"))
    ppl.deterministic("kappa", ppl.irfft(modes, kx="x", ky="y"), ("x", "y"))
    shear1 = aside("shear1", ppl.irfft((lx**2 - ly**2) / l2 * modes, kx="x", ky="y"), ("x", "y"))
    shear2 = aside("shear2", ppl.irfft(2 * lx * ly / l2 * modes, kx="x", ky="y"), ("x", "y"))

    ppl.observe("e1", ppl.Normal(shear1, noise), e1, where=mask)
    ppl.observe("e2", ppl.Normal(shear2, noise), e2, where=mask)


def simulate(pixels: int = 64, seed: int = 1, amp: float = 2.0, slope: float = 1.8) -> tuple[dict, dict]:
    """A square patch with 1 arcmin pixels, 40 galaxies per arcmin², 5 masked stars: (data, truth)."""
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(pixels, pixels))
    lx = 2 * np.pi * np.fft.fftfreq(pixels) * RADIAN
    ly = 2 * np.pi * np.fft.rfftfreq(pixels) * RADIAN
    l2 = np.maximum(lx[:, None] ** 2 + ly**2, 1)
    root = np.where(l2 > 1, np.sqrt(1e-9 * amp * RADIAN**2) * (l2 / 1e6) ** (-slope / 4), 0)
    modes = root * np.fft.rfft2(white)
    back = lambda m: np.fft.irfft2(m, s=(pixels, pixels))  # noqa: E731
    shear = back((lx[:, None] ** 2 - ly**2) / l2 * modes), back(2 * lx[:, None] * ly / l2 * modes)
    count = rng.poisson(40.0, size=(pixels, pixels))
    at = np.arange(pixels)
    for row, col, radius in zip(*rng.uniform(0, pixels, (2, 5)), rng.uniform(2, 5, 5), strict=True):
        count[(at[:, None] - row) ** 2 + (at - col) ** 2 < radius**2] = 0
    mask = count > 0
    noise = 0.26 / np.sqrt(np.maximum(count, 1))
    e1, e2 = (np.where(mask, s + noise * rng.normal(size=s.shape), 0.0) for s in shear)
    data = {"side_x": float(pixels), "side_y": float(pixels), "e1": e1, "e2": e2, "noise": noise, "mask": mask}
    return data, {"kappa": back(modes), "white": white, "amp": amp, "slope": slope}


if __name__ == "__main__":
    data, truth = simulate()
    posterior = ppl.compile(mass_map, data)
    result = posterior.run(ppl.nuts(chains=2, draws=200, warmup=200), seed=0)
    print(result.summary(["amp", "slope"]))
