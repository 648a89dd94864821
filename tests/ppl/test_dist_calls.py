"""Calls of distributions: what is accepted, and the lesson that each mistake gets."""

import inspect

import numpy as np
import pytest

import ppl.dist
from ir.build import Builder
from ir.dims import Dim, TensorType
from ir.errors import Diagnostic
from ir.graph import Value
from ppl.dist.family import DOMAINS
from ppl.dist.make import FAMILIES, DistCall, describe_all, make

K = Dim("k", 3)


def values() -> dict[str, Value]:
    """Values of a program for arguments: name them in a call by a string that starts with $."""
    with Builder("calls", "f64") as b:
        return {
            "$scalar": b.input("scalar", TensorType((), "f64")),
            "$over_k": b.input("over_k", TensorType((K,), "f64")),
            "$over_n": b.input("over_n", TensorType((Dim("n", 9),), "f64")),
            "$complex": b.input("complex", TensorType((K,), "c128")),
            "$chol": b.input("chol", TensorType((K, Dim("k2", 3)), "f64")),
            "$flat_chol": b.input("flat_chol", TensorType((K, Dim("n", 9)), "f64")),
            "$normal": ppl.dist.Normal(0, 1),  # type: ignore[dict-item]
            "$array": np.ones(4),  # type: ignore[dict-item]
        }


MISTAKES = [
    # names of distributions
    ("normal", (), (0, 1), {}),
    ("gaussian", (), (0, 1), {}),
    ("half_normal", (), (1,), {}),
    ("student_t", (), (4, 0, 1), {}),
    ("inv_gamma", (), (3, 2), {}),
    ("MultivariateNormal", (), (0, 1), {}),
    ("MultivariateNormalTriL", (), (0, 1), {}),
    ("bernoulli_logit", (), (0.3,), {}),
    ("poisson_log", (), (0.3,), {}),
    ("double_exponential", (), (0, 1), {}),
    ("neg_binomial_2", (), (0, 1), {}),
    ("Norml", (), (0, 1), {}),
    ("Dirichelet", ("k",), (2,), {}),
    ("LKJ", (), (2,), {}),
    # names of parameters
    ("Normal", (), (), {"mu": 0, "sigma": 1}),
    ("Normal", (), (0,), {"sigma": 1}),
    ("Normal", (), (0,), {"std": 1}),
    ("Normal", (), (0,), {"tau": 1}),
    ("Normal", (), (0,), {"variance": 1}),
    ("Normal", (), (0,), {"scael": 1}),
    ("Normal", (), (0, 1), {"weight": 1}),
    ("StudentT", (), (), {"nu": 4, "loc": 0, "scale": 1}),
    ("Gamma", (), (), {"alpha": 2, "rate": 1}),
    ("Gamma", (), (2,), {"beta": 1}),
    ("Gamma", (), (2,), {"scale": 1}),
    ("Gamma", (), (2,), {"theta": 1}),
    ("InverseGamma", (), (2,), {"rate": 1}),
    ("InverseGamma", (), (2,), {"beta": 1}),
    ("Exponential", (), (), {"lam": 1}),
    ("Exponential", (), (), {"lambda": 1}),
    ("Exponential", (), (), {"scale": 2}),
    ("Beta", (), (), {"alpha": 1, "beta": 2}),
    ("Beta", (), (1,), {"beta": 2}),
    ("Uniform", (), (0,), {"upper": 2}),
    ("Uniform", (), (), {"minval": 0, "maxval": 1}),
    ("TruncatedNormal", (), (0, 1), {"low": 0}),
    ("Binomial", (), (), {"n": 3, "probs": 0.5}),
    ("Binomial", (), (3,), {"p": 0.5}),
    ("Bernoulli", (), (), {"p": 0.5}),
    ("Bernoulli", (), (), {"logit_p": 0.5}),
    ("Poisson", (), (), {"mu": 3}),
    ("NegativeBinomial", (), (), {"mu": 3, "concentration": 1}),
    ("NegativeBinomial", (), (), {"total_count": 3, "probs": 0.5}),
    ("MvNormal", ("k",), (0,), {"cov": "$chol"}),
    ("MvNormal", ("k",), (0,), {"scale_tril": "$chol"}),
    # positions
    ("Normal", (), (0, 1, 2), {}),
    ("Normal", (), (0,), {}),
    ("Normal", (), (), {}),
    ("Normal", (), (0, 1), {"loc": 3}),
    ("Normal", (), (0,), {"loc": 3}),
    ("Flat", (), (0,), {}),
    ("HalfNormal", (), (0, 1), {}),
    ("Bernoulli", (), (0.5,), {}),
    ("Binomial", (), (10, 0.5), {}),
    ("Categorical", ("k",), ("$over_k",), {}),
    ("InverseGamma", (), (3, 2), {}),
    ("Weibull", (), (3, 2), {}),
    ("Pareto", (), (3, 2), {}),
    ("NegativeBinomial", (), (3, 2), {}),
    ("TruncatedNormal", (), (0, 1, 0), {}),
    ("TruncatedNormal", (), (0, 1), {}),
    ("MvNormal", ("k",), (0, "$chol"), {}),
    # forms
    ("Bernoulli", (), (), {}),
    ("Bernoulli", (), (), {"probs": 0.5, "logits": 0}),
    ("Poisson", (), (), {}),
    ("Poisson", (), (3,), {"log_rate": 1}),
    ("Binomial", (), (), {"probs": 0.5}),
    # dims
    ("Dirichlet", (), (2,), {}),
    ("Categorical", (), (), {"probs": "$over_k"}),
    ("Normal", ("k",), (0, 1), {}),
    ("Dirichlet", ("k", "n"), (2,), {}),
    ("Categorical", ("k",), (), {"probs": "$over_n"}),
    ("Categorical", ("k",), (), {"logits": "$scalar"}),
    ("Categorical", ("k",), (), {"probs": 0.5}),
    ("MvNormal", ("k",), (0,), {"chol": "$flat_chol"}),
    ("MvNormal", ("k",), (0,), {"chol": "$over_k"}),
    ("MvNormal", ("k",), (0,), {"chol": 1}),
    # numbers
    ("Normal", (), (0, -1), {}),
    ("Normal", (), (0, 0), {}),
    ("Normal", (), (float("inf"), 1), {}),
    ("HalfNormal", (), (float("nan"),), {}),
    ("Exponential", (), (-2,), {}),
    ("Gamma", (), (0, 1), {}),
    ("Beta", (), (1, -1), {}),
    ("StudentT", (), (0, 0, 1), {}),
    ("Bernoulli", (), (), {"probs": 1.2}),
    ("Binomial", (), (2.5,), {"probs": 0.2}),
    ("Binomial", (), (-2,), {"probs": 0.2}),
    ("Binomial", (), ("$scalar",), {"probs": 0.2}),
    ("Poisson", (), (-3,), {}),
    ("Uniform", (), (1, 0), {}),
    ("Uniform", (), (1, 1), {}),
    ("TruncatedNormal", (), (0, 1), {"lower": 2, "upper": 1}),
    ("TruncatedNormal", (), (0, 1), {"lower": 0, "upper": float("inf")}),
    ("Dirichlet", ("k",), (-1,), {}),
    # kinds
    ("Normal", (), ("$normal", 1), {}),
    ("Normal", (), ("mu", 1), {}),
    ("Normal", (), (None, 1), {}),
    ("Normal", (), (True, 1), {}),
    ("Normal", (), ("$array", 1), {}),
    ("Normal", (), ("$complex", 1), {}),
]


def test_every_mistake_is_a_lesson(golden):
    known = values()
    lessons = []
    for name, event, args, kwargs in MISTAKES:
        shown = [str(a) for a in args] + [f"{k} = {v}" for k, v in kwargs.items()]
        lessons.append(f"{name}{'[' + ', '.join(event) + ']' if event else ''}({', '.join(shown)})")
        args = [known.get(a, a) if isinstance(a, str) else a for a in args]
        kwargs = {k: known.get(v, v) if isinstance(v, str) else v for k, v in kwargs.items()}
        with pytest.raises(Diagnostic) as caught:
            make(name, event, args, kwargs)
        assert caught.value.kind == "type" and caught.value.hint
        lessons.append(caught.value.render() + "\n")
    golden("dist/errors.txt", "\n".join(lessons))


def test_positions_and_names_give_the_same_call():
    for call in (ppl.dist.Normal(0, 10), ppl.dist.Normal(loc=0, scale=10), ppl.dist.Normal(0, scale=10)):
        assert call.dist.name == "Normal" and call.params == (0.0, 10.0)
        assert all(isinstance(p, float) for p in call.params)
    assert make("Normal", (), (), {"scale": 10, "loc": 0}).params == (0.0, 10.0)


def test_numbers_of_numpy_are_numbers():
    assert ppl.dist.Normal(np.float32(0.5), np.array(2)).params == (0.5, 2.0)


def test_python_gives_the_dim_by_name():
    call = ppl.dist.Dirichlet(2.0, event="k")
    assert call.dist.event == ("k",) and str(call) == "Dirichlet[k](2.0)"
    assert call.dist == make("Dirichlet", ("k",), (2,), {}).dist


def test_the_form_and_the_bounds_are_part_of_the_distribution():
    assert ppl.dist.Bernoulli(logits=0).dist != ppl.dist.Bernoulli(probs=0.5).dist
    assert ppl.dist.TruncatedNormal(0, 1, lower=0).dist.bounds == ("lower",)
    assert ppl.dist.TruncatedNormal(0, 1, upper=3, lower=0).params == (0.0, 1.0, 0.0, 3.0)


def test_inner_dims_are_those_that_a_draw_does_not_have():
    known = values()
    assert ppl.dist.Categorical(probs=known["$over_k"], event="k").dist.inner() == ("k",)
    assert ppl.dist.Categorical(probs=known["$over_k"], event="k").dist.event == ()
    call = ppl.dist.MvNormal(0, chol=known["$chol"], event="k")
    assert (call.dist.event, call.dist.inner()) == (("k",), ("k2",))
    assert ppl.dist.Normal(0, 1).dist.inner() == ()


def test_the_package_exports_every_distribution():
    exported = {name for name in ppl.dist.__all__ if name[0].isupper()} - {"DistCall"}
    assert exported == set(FAMILIES)
    for name in exported:
        assert getattr(ppl.dist, name).family is FAMILIES[name]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda f: f.name)
def test_a_family_describes_itself(family):
    """Its example is a call that works, its parameters have domains, its constructor a signature and a text."""
    assert family.lives_on and family.__doc__
    for p in family.parameters:
        assert p.domain in DOMAINS and p.doc and "." not in p.doc
    constructor = getattr(ppl.dist, family.name)
    shown = inspect.signature(constructor).parameters
    assert set(shown) - {"event"} == {p.name for p in family.parameters}
    assert all(f"{p.name}" in constructor.__doc__ for p in family.parameters)
    known = values()
    event = ("k",) if family.event_dims else ()
    text = family.example.replace("[k]", "")
    names = {"w": known["$over_k"], "L": known["$chol"], "loc": 0.0}
    call = eval(text, {**names, family.name: lambda *a, **k: make(family.name, event, a, k)})
    assert isinstance(call, DistCall) and isinstance(call.dist, family)


def test_the_reference_lists_every_distribution(golden):
    rows = describe_all()
    assert [row["name"] for row in rows] == sorted(FAMILIES)
    lines = []
    for row in rows:
        lines += [row["call"], f"    {row['doc']}", f"    support: {row['support']}; for example {row['example']}"]
        for p in row["parameters"]:
            lines.append(f"    {p['name']}: {p['doc']} ({p['domain']}{', by name' if p['by_name'] else ''})")
    golden("dist/reference.txt", "\n".join(lines) + "\n")
