"""The posteriors of posteriordb: log densities against SciPy's and against Stan's draws, means of draws against Stan's.

Magnusson et al. (2024), arXiv:2407.04967. Stan's draws and our seeds are fixed: no test here fails by chance.
"""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import ppl
from tests.yardsticks.agree import reference_folder
from tests.yardsticks.posteriordb.compare import compare
from tests.yardsticks.posteriordb.densities import DENSITIES
from tests.yardsticks.posteriordb.posteriors import FOLDER, POSTERIORS, Posterior
from tests.yardsticks.posteriordb.reference import read_data, read_draws, read_summary
from tests.yardsticks.posteriordb.regressions import REGRESSIONS

LONG_TO_COMPILE = {"hudson_lynx_hare-lotka_volterra", "bball_drive_event_0-hmm_drive_0"}
QUICK = ["arK-arK", "eight_schools-eight_schools_noncentered", "kidiq-kidscore_momhs"]


def marked(names, slow):
    return [pytest.param(n, marks=pytest.mark.slow) if slow(n) else n for n in names]


def compiled(name: str):
    """The posterior of that name, compiled, with Stan's data."""
    data = read_data(reference_folder("posteriordb") / name)
    return ppl.compile(POSTERIORS[name].load(), POSTERIORS[name].data(data), dtype="float64"), data


def at_draws_of_stan(case: Posterior, posterior, data: SimpleNamespace, draws: int):
    """Stan's draws, so many of them evenly, and their unconstrained positions [draw, ...] in our model."""
    stan = read_draws(reference_folder("posteriordb") / case.name)
    stan = SimpleNamespace(**{n: x[:: max(1, len(x) // draws)][:draws] for n, x in vars(stan).items()})
    latents = case.latents(stan, data)
    count = len(next(iter(latents.values())))
    points = [posterior.unconstrain({n: x[i] for n, x in latents.items()}) for i in range(count)]
    return stan, {n: np.stack([p[n] for p in points]) for n in points[0]}


def test_every_model_file_is_used():
    assert {case.model for case in POSTERIORS.values()} == {path.stem for path in FOLDER.glob("*.ppl")}


def test_every_posterior_of_the_folder_is_here():
    assert {path.name for path in reference_folder("posteriordb").iterdir() if path.is_dir()} == set(POSTERIORS)


@pytest.mark.parametrize("name", marked(DENSITIES, lambda n: n in LONG_TO_COMPILE))
def test_log_densities_differ_as_by_scipy(name):
    posterior, data = compiled(name)
    stan, points = at_draws_of_stan(POSTERIORS[name], posterior, data, 12)
    ours = [posterior.value_and_gradient({n: x[i] for n, x in points.items()})[0] for i in range(12)]
    draws = [SimpleNamespace(**{n: x[i] for n, x in vars(stan).items()}) for i in range(12)]
    theirs = [DENSITIES[name](draw, data) for draw in draws]
    apart = np.ptp(np.array(ours) - theirs)
    print(f"{name}: {apart:.1e} of {np.ptp(theirs):.1f}")
    assert np.ptp(theirs) > 1
    assert apart < TOLERANCE.get(name, 1e-8)


TOLERANCE = {
    "hudson_lynx_hare-lotka_volterra": 1e-3,  # the step of our integration, against one of tolerance 1e-10
    "gp_pois_regr-gp_pois_regr": 1e-6,  # covariances of condition 1e10
}


@pytest.mark.parametrize("name", marked(POSTERIORS, lambda n: n not in QUICK))
def test_gradients_average_as_they_must_over_draws_of_stan(name):
    """With u the unconstrained latents and g the gradient of their log density p, E g = 0 and E (u - E u) g = -1.

    Both are integrals by parts, and hold only where p is the density of the draws, whatever made them.
    """
    posterior, data = compiled(name)
    _, u = at_draws_of_stan(POSTERIORS[name], posterior, data, 500)
    with jax.enable_x64(True):
        g = jax.jit(jax.vmap(jax.grad(posterior.log_density)))(u)
    u, g = (np.concatenate([np.asarray(x[n]).reshape(len(x[n]), -1) for n in u], axis=1) for x in (u, g))
    score, virial = z_of_zero(g), z_of_zero((u - u.mean(axis=0)) * g + 1)
    print(f"{name}: score {abs(score).max():.2f}, virial {abs(virial).max():.2f} of {u.shape}")
    assert abs(score).max() < 4 and abs(virial).max() < 4


def z_of_zero(x: np.ndarray) -> np.ndarray:
    """The means of independent rows in units of their errors."""
    return x.mean(axis=0) / (x.std(axis=0) / np.sqrt(len(x)))


@pytest.mark.parametrize("name", REGRESSIONS)
def test_least_squares_are_the_moments_of_stan(name):
    """E beta is least squares under flat priors, whatever the prior of sigma; sigma goes by quadrature."""
    folder, r = reference_folder("posteriordb") / name, REGRESSIONS[name]
    (y, x), stan = r.outcome_and_terms(read_data(folder)), read_summary(folder)
    beta = np.linalg.lstsq(x, y, rcond=None)[0]
    squares, freedom = np.sum((y - x @ beta) ** 2), len(y) - x.shape[1]
    sigma = np.sqrt(squares / freedom) * np.linspace(0.2, 3, 20_001)
    log_p = -freedom * np.log(sigma) - squares / (2 * sigma**2)
    if r.model == "regression_cauchy":
        log_p -= np.log1p((sigma / 2.5) ** 2)
    p = np.exp(log_p - log_p.max())
    first, second = np.sum(p * sigma) / p.sum(), np.sum(p * sigma**2) / p.sum()
    variance = second * np.diag(np.linalg.inv(x.T @ x))
    z = stan.mean.z(np.append(beta, first)), stan.mean_square.z(np.append(beta**2 + variance, second))
    print(f"{name}: means {abs(z[0]).max():.2f}, mean squares {abs(z[1]).max():.2f}")
    assert abs(z[0]).max() < 4 and abs(z[1]).max() < 4


@pytest.mark.parametrize("name", marked(POSTERIORS, lambda n: n != QUICK[1]))
def test_means_and_mean_squares_of_a_short_run(name):
    posterior, _ = compiled(name)
    options, kept = ppl.nuts(chains=4, draws=500, warmup=500), POSTERIORS[name].keep
    result = posterior.run(options, seed=1, init="uniform", keep=kept, predictive=False, progress=False)
    found = compare(POSTERIORS[name], result, read_summary(reference_folder("posteriordb") / name))
    steps = result.draws["sample_stats"]["n_steps"].values.mean()
    print(
        f"{name}: z {found.largest_z():.2f}, R-hat {found.rhat.max():.3f}, ESS {found.ess.min():.0f}, {steps:.0f} steps"
    )
    assert found.rhat.max() < 1.05
    assert found.within() == 1
