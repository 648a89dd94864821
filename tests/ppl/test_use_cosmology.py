"""`use cosmology`: a text with the library's functions is the program of the Python model that calls them."""

import re
from pathlib import Path

import pytest

import ppl
from ppl import cosmo
from ppl.bind import outline
from ppl.cosmo.language import FUNCTIONS as LIBRARY
from ppl.pipeline import stages
from ppl.trace.functions import FUNCTIONS
from ppl.trace.records import takes

README = Path(cosmo.__file__).with_name("README.md")
TEXT = """\
model galaxies
use cosmology
dim x = 8, y = 6, z = 7
dim u = 16, v = 12, w = 14
dim shell = 3, point = 4
data k[point]: real, P[point]: real, a: real

Omega_m ~ Uniform(0.1, 0.9)
b1      ~ Normal(0, 1)
white[x, y, z] ~ Normal(0, 1)
cosmo    = cosmology(Omega_m = Omega_m, Omega_b = 0.05, h = 0.7, n_s = 0.96, sigma8 = 0.8, w0 = -0.9)
spectrum = tabulated_power(k, P)
early    = simulate(white, cosmo, cell = 8.0, steps = 0, stop = a, order = 1, power = spectrum)
late     = simulate(white, cosmo, cell = 8.0, steps = 2, start = 0.2, stop = 0.8, stepper = "bullfrog", ratio = 2,
                    kernel = "tsc", reach = 4, gradient = "finite", laplacian = "finite", wiggles = false)
seen     = redshift_space(late, los = y)
delta[x, y, z]  = linear_density(white, cosmo, cell = 8.0, a = 0.8, wiggles = false)
weight[x, y, z] = bias_weights(delta, cell = 8.0, b1 = b1, b2 = 0.3, bs2 = -0.2, bnabla2 = 1.5)
count[u, v, w]  = density(seen, weight, dims = [u, v, w], kernel = "cic", reach = 6)
v_z[x, y, z]    = velocity(early, z)
moved[x, y, z]  = displacement(early, along = x)
P2[shell]       = power_spectrum(count, shell, cell = 4.0, low = 0.1, high = 0.7, spacing = "log", los = v,
                                 multipole = 2, window = "cic")
cross[shell]    = cross_power(delta, density(late), shell, cell = 8.0)
r[shell]        = cross_correlation(delta, density(late), shell, cell = 8.0)
mean_k[shell]   = mean_wavenumber(delta, shell, cell = 8.0)
modes[shell]    = mode_count(delta, shell, cell = 8.0)
distance        = comoving_distance(cosmo, a)
f               = growth_rate(cosmo, a)
"""


@ppl.model(dims={"x": 8, "y": 6, "z": 7, "u": 16, "v": 12, "w": 14, "shell": 3, "point": 4})
def galaxies(k: ppl.Data["point"], P: ppl.Data["point"], a: ppl.Data):
    box, named = ("x", "y", "z"), ppl.deterministic
    Omega_m = ppl.sample("Omega_m", ppl.Uniform(0.1, 0.9))
    b1 = ppl.sample("b1", ppl.Normal(0, 1))
    white = ppl.sample("white", ppl.Normal(0, 1), dims=box)
    universe = cosmo.Cosmology(Omega_m=Omega_m, Omega_b=0.05, h=0.7, n_s=0.96, sigma8=0.8, w0=-0.9)
    spectrum = cosmo.tabulated_power(k, P)
    early = cosmo.simulate(white, universe, cell=8.0, steps=0, stop=a, order=1, power=spectrum)
    mesh = {"ratio": 2, "kernel": "tsc", "reach": 4, "gradient": "finite", "laplacian": "finite"}
    when = {"cell": 8.0, "steps": 2, "start": 0.2, "stop": 0.8, "stepper": "bullfrog"}
    late = cosmo.simulate(white, universe, **when, **mesh, wiggles=False)
    seen = cosmo.redshift_space(late, los="y")
    delta = named("delta", cosmo.linear_density(white, universe, cell=8.0, a=0.8, wiggles=False), box)
    weight = named("weight", cosmo.bias_weights(delta, cell=8.0, b1=b1, b2=0.3, bs2=-0.2, bnabla2=1.5), box)
    fine = ("u", "v", "w")
    count = named("count", cosmo.density(seen, weight, dims=fine, kernel="cic", reach=6), fine)
    named("v_z", cosmo.velocity(early, "z"), box)
    named("moved", cosmo.displacement(early, along="x"), box)
    how = {"cell": 4.0, "low": 0.1, "high": 0.7, "spacing": "log", "los": "v", "multipole": 2, "window": "cic"}
    named("P2", cosmo.power_spectrum(count, "shell", **how), "shell")
    named("cross", cosmo.cross_power(delta, cosmo.density(late), "shell", cell=8.0), "shell")
    named("r", cosmo.cross_correlation(delta, cosmo.density(late), "shell", cell=8.0), "shell")
    named("mean_k", cosmo.mean_wavenumber(delta, "shell", cell=8.0), "shell")
    named("modes", cosmo.mode_count(delta, "shell", cell=8.0), "shell")
    named("distance", cosmo.comoving_distance(universe, a))
    named("f", cosmo.growth_rate(universe, a))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_text_and_python_are_one_program(dtype):
    text, python = (outline(m, dtype=dtype) for m in (ppl.from_text(TEXT), galaxies))
    assert text.program == python.program
    for (stage, a), (_, b) in zip(stages(text), stages(python), strict=True):
        assert a == b, stage
        if stage == "density":
            break


def test_one_growth_serves_all_that_is_made_of_a_cosmology():
    """Two simulations and a density share theirs; `growth_rate` makes its own."""
    scans = [
        n for n in outline(galaxies).program.walk() if n.op.name == "scan" and n.op.region.name.startswith("growth")
    ]
    assert len(scans) == 2


def test_the_library_hides_no_function_of_the_language():
    assert not set(LIBRARY) & set(FUNCTIONS)


@pytest.mark.parametrize("name", LIBRARY)
def test_a_function_of_the_library_says_what_it_takes(name):
    """Its first argument is told apart where it is a record, and its docstring is there for errors."""
    function = LIBRARY[name]
    assert (function.__doc__ or "").strip()
    no_cosmology = {"cosmology", "Planck15", "Planck18", "tabulated_power", "bias_weights"}
    if name not in no_cosmology and name not in ("power_spectrum", "cross_power", "cross_correlation"):
        assert takes(function) or name in ("mode_count", "mean_wavenumber")


def test_a_record_is_no_site():
    from ir.ops.sites import Site

    sites = {n.op.site for n in outline(ppl.from_text(TEXT)).program.walk() if isinstance(n.op, Site)}
    assert not {"cosmo", "spectrum", "early", "late", "seen"} & sites and {"white", "count", "f"} <= sites


def test_the_text_of_the_page_is_a_model():
    (text,) = re.findall(r"```\n(model .*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    outline(ppl.from_text(text))


def test_records_are_refused_in_python_as_in_text():
    @ppl.model(dims={"x": 4, "y": 4, "z": 4})
    def wrong():
        white = ppl.sample("white", ppl.Normal(0, 1), dims=("x", "y", "z"))
        cosmo.simulate(white, white, cell=2.0)

    with pytest.raises(ppl.Diagnostic, match="takes a cosmology as cosmo") as error:
        outline(wrong)
    assert error.value.span is not None and "cosmo.simulate" in error.value.render()
