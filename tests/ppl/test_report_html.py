"""The report is one file that loads nothing, says what it must and shows what the run has."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from ir.errors import Diagnostic
from ppl.io import Draws, DrawsWriter, Spec
from ppl.report import write_report
from ppl.report.fields import coherence, field_moments

CHAINS, DRAWS = 2, 40
RNG = np.random.default_rng(5)
FIELD = RNG.normal(size=(12, 14))
CUBE = RNG.normal(size=(5, 6, 7))


def sample(*shape, around=0.0):
    return around + 0.3 * RNG.normal(size=(CHAINS, DRAWS, *shape))


@pytest.fixture(scope="module")
def draws():
    posterior = {
        "mu": ((), sample()),
        "rate": (("county",), sample(5)),
        "delta": (("x", "y"), sample(12, 14, around=FIELD)),
        "density": (("x2", "y2", "z2"), sample(5, 6, 7, around=CUBE)),
        "<b>odd": ((), sample()),
    }
    diverging = np.zeros((CHAINS, DRAWS), bool)
    diverging[0, 3] = True
    stats = {"diverging": diverging, "energy": sample(), "acceptance_rate": np.full((CHAINS, DRAWS), 0.8)}
    attrs = {"model": "radon & co", "sampler": "nuts", "seed": 7, "seconds": 83.2, "target_acceptance": 0.8}
    groups = {"posterior": posterior, "sample_stats": {n: ((), v) for n, v in stats.items()}}
    return Draws.of(groups, {"county": np.array(list("abcde"))}, attrs)


class Page(HTMLParser):
    """Collects text, references to other files, ids and unclosed tags."""

    VOID = ("meta", "link", "br", "img", "input", "hr")

    def __init__(self, source):
        super().__init__()
        self.text, self.references, self.ids, self.open, self.figures = [], [], [], [], []
        self.feed(source)
        self.joined = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "svg":
            self.figures.append(attrs["aria-label"])
        self.references += [v for k, v in attrs.items() if k in ("src", "href", "xlink:href", "action", "srcset")]
        self.ids += [attrs["id"]] if "id" in attrs else []

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def source(draws, tmp_path_factory):
    out = write_report(
        draws,
        tmp_path_factory.mktemp("report") / "report.html",
        model_text="mu ~ Normal(0, 1)  # 1 < 2",
        plan_text="mesh row=4\ndelta  x→row",
        machine="two cores",
        truth={"mu": 0.1, "delta": FIELD, "density": CUBE, "unknown": 3},
    )
    return out.read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_says_how_it_was_made(source):
    page = Page(source)
    assert page.open == [] and len(page.ids) == len(set(page.ids))
    for words in ("radon & co", "nuts", "two cores", "1 min 23 s", "mu ~ Normal(0, 1) # 1 < 2", "delta x→row", "numpy"):
        assert words in page.joined, words
    for heading in ("Warnings", "Summary", "Traces and ranks", "Fields", "Sampler", "Model", "Plan", "Software"):
        assert f">{heading}</h2>" in source
    assert "<b>odd" in page.joined and "<b>odd" not in source


def test_the_page_loads_nothing_from_outside(source):
    page = Page(source)
    assert all(r.startswith(("#", "data:image/png;base64,")) for r in page.references)
    assert {r[1:] for r in page.references if r.startswith("#")} <= set(page.ids)
    assert not re.search(r"https?://|url\((?!#)|@import", source)


def test_divergences_are_on_top(source):
    page = Page(source)
    assert "1 of 80 trajectories diverged" in page.joined
    assert source.index("trajectories diverged") < source.index("<table")


def test_every_quantity_has_its_figures(source):
    figures = Page(source).figures
    assert "density, trace and ranks of mu" in figures and "density, trace and ranks of rate[county=a]" in figures
    assert "maps of truth, mean, sd of delta" in figures and "agreement of delta with the truth" in figures
    assert "maps of truth, mean, sd of density" in figures and "median and 90 percent band of rate" in figures
    assert "histograms of the energy and of its changes" in figures


def test_figures_take_the_colour_of_the_page(source):
    assert "currentColor" in source and "#010203" not in source


def test_a_run_folder_with_streamed_moments_only(tmp_path):
    schema = {
        "posterior": {"mu": Spec()},
        "posterior_mean": {"delta": Spec(("x", "y"), (12, 14))},
        "posterior_sd": {"delta": Spec(("x", "y"), (12, 14))},
    }
    with DrawsWriter(tmp_path / "draws.zarr", schema, CHAINS, attrs={"model": "field"}) as writer:
        writer.append(posterior={"mu": sample()})
        writer.write(posterior_mean={"delta": FIELD}, posterior_sd={"delta": np.ones((12, 14))})
    (tmp_path / "model.ppl").write_text("delta[x, y] ~ Normal(0, 1)")
    page = Page(write_report(tmp_path, tmp_path / "report.html").read_text())
    assert "delta[x, y] ~ Normal(0, 1)" in page.joined and "maps of mean, sd of delta" in page.figures


def test_a_spoilt_run_still_has_a_report(tmp_path):
    values = sample()
    values[0, 3] = np.nan
    energy = np.full((CHAINS, DRAWS), np.inf)
    draws = Draws.of({"posterior": {"mu": ((), values)}, "sample_stats": {"energy": ((), energy)}})
    page = Page(write_report(draws, tmp_path / "report.html").read_text())
    assert "not finite" in page.joined


def test_chosen_pages_only(draws, tmp_path):
    source = write_report(draws, tmp_path / "r.html", pages=("warnings", "summary")).read_text()
    assert Page(source).figures == [] and ">Summary</h2>" in source and ">Fields</h2>" not in source


def test_wrong_arguments_are_lessons(draws, tmp_path):
    with pytest.raises(Diagnostic, match="no page 'trace'"):
        write_report(draws, tmp_path / "r.html", pages=["trace"])
    with pytest.raises(Diagnostic, match=r"truth of 'delta' has shape \(3,\)"):
        write_report(draws, tmp_path / "r.html", truth={"delta": np.zeros(3)})
    with pytest.raises(Diagnostic, match="cannot be written"):
        write_report(draws, tmp_path / "nowhere" / "r.html", pages=())


def test_moments_over_blocks_are_those_of_all_draws(draws, monkeypatch):
    import ppl.report.fields as fields
    from ppl.report.summary import draw_blocks

    monkeypatch.setattr(fields, "draw_blocks", lambda variable: draw_blocks(variable, 12 * 14 * 8 * 7))
    moments = field_moments(draws, "delta")
    values = draws["posterior"]["delta"].values.reshape(-1, 12, 14)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.sd, values.std(axis=0, ddof=1), rtol=1e-10)


def test_coherence_of_a_scaled_field_is_one_and_of_noise_is_small():
    field, other = RNG.normal(size=(2, 64, 72))
    _, r, t = coherence(2 * field + 5, field)
    np.testing.assert_allclose(r, 1, atol=1e-12)
    np.testing.assert_allclose(t, 2, atol=1e-12)
    # Each shell beyond the first few averages at least 100 modes: |r| < 5 / sqrt(100).
    assert np.abs(coherence(field, other)[1][4:]).max() < 0.5
