"""What other libraries call things: understood in errors, which then say our name."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

DISTRIBUTIONS = {
    "bern": "Bernoulli",
    "bernoullilogit": "Bernoulli",
    "bernoullilogits": "Bernoulli",
    "bernoulliprobs": "Bernoulli",
    "betaproportion": "Beta",
    "binom": "Binomial",
    "binomiallogit": "Binomial",
    "binomiallogits": "Binomial",
    "binomialprobs": "Binomial",
    "categoricallogit": "Categorical",
    "categoricallogits": "Categorical",
    "categoricalprobs": "Categorical",
    "discrete": "Categorical",
    "doubleexponential": "Laplace",
    "expon": "Exponential",
    "gauss": "Normal",
    "gaussian": "Normal",
    "gumbelr": "Gumbel",
    "halfgaussian": "HalfNormal",
    "halft": "HalfStudentT",
    "improperuniform": "Flat",
    "invgamma": "InverseGamma",
    "loggaussian": "LogNormal",
    "lognorm": "LogNormal",
    "multinormal": "MvNormal",
    "multinormalcholesky": "MvNormal",
    "multivariatenormal": "MvNormal",
    "multivariatenormaltril": "MvNormal",
    "mvn": "MvNormal",
    "mvgaussian": "MvNormal",
    "nbinom": "NegativeBinomial",
    "negbinomial": "NegativeBinomial",
    "negbinomial2": "NegativeBinomial",
    "negativebinomial2": "NegativeBinomial",
    "norm": "Normal",
    "poislog": "Poisson",
    "pois": "Poisson",
    "poissonlog": "Poisson",
    "t": "StudentT",
    "truncnorm": "TruncatedNormal",
    "unif": "Uniform",
    "uniformreal": "Uniform",
}
"""Names in lower case without underscores; a name that differs from ours in nothing else needs no row."""

PARAMETERS = {
    "a": ("low", "concentration1", "concentration"),
    "alpha": ("concentration", "concentration1"),
    "b": ("high", "concentration0", "rate", "scale"),
    "beta": ("rate", "concentration0", "scale"),
    "concentrations": ("concentration",),
    "degrees_of_freedom": ("df",),
    "dof": ("df",),
    "eta": ("logits", "log_rate"),
    "high": ("upper",),
    "k": ("concentration",),
    "lam": ("rate",),
    "lambda": ("rate",),
    "lambda_": ("rate",),
    "left": ("lower", "low"),
    "log_lambda": ("log_rate",),
    "log_mean": ("log_rate",),
    "logit": ("logits",),
    "logit_p": ("logits",),
    "low": ("lower",),
    "lower": ("low",),
    "m": ("scale",),
    "max": ("high", "upper"),
    "maxval": ("high", "upper"),
    "mean": ("loc", "rate"),
    "min": ("low", "lower"),
    "minval": ("low", "lower"),
    "mode": ("loc",),
    "mu": ("loc", "mean", "rate"),
    "n": ("total_count",),
    "nu": ("df",),
    "p": ("probs",),
    "phi": ("concentration",),
    "prob": ("probs",),
    "probability": ("probs",),
    "probabilities": ("probs",),
    "pvals": ("probs",),
    "right": ("upper", "high"),
    "scale_tril": ("chol",),
    "cholesky": ("chol",),
    "sd": ("scale",),
    "shape": ("concentration",),
    "sigma": ("scale",),
    "std": ("scale",),
    "stddev": ("scale",),
    "theta": ("probs",),
    "trials": ("total_count",),
    "upper": ("high",),
    "x0": ("loc",),
    "x_m": ("scale",),
}
"""Names of parameters elsewhere, and ours in the order in which a distribution is searched for them."""

CONVERSIONS = {
    ("cov", "chol"): "chol = cholesky(cov)",
    ("covariance", "chol"): "chol = cholesky(covariance)",
    ("covariance_matrix", "chol"): "chol = cholesky(covariance_matrix)",
    ("mean", "concentration1"): "concentration1 = mean * n and concentration0 = (1 - mean) * n",
    ("precision", "scale"): "scale = 1 / sqrt(precision)",
    ("prec", "scale"): "scale = 1 / sqrt(prec)",
    ("probs", "mean"): "mean = concentration * (1 - probs) / probs",
    ("rate", "scale"): "scale = rate: the two names stand for one number",
    ("scale", "rate"): "rate = 1 / scale",
    ("tau", "scale"): "scale = 1 / sqrt(tau)",
    ("theta", "rate"): "rate = 1 / theta",
    ("total_count", "concentration"): "concentration = total_count",
    ("var", "scale"): "scale = sqrt(var)",
    ("variance", "scale"): "scale = sqrt(variance)",
}
"""A foreign parameter that is no other name of ours but another number: how to get ours from it."""

RATE_AS_SCALE = ("InverseGamma",)
"""Distributions whose scale some call a rate, for the same number."""


EXAMPLES = {
    "bernoullilogit": "Bernoulli(logits = 0)",
    "bernoullilogits": "Bernoulli(logits = 0)",
    "binomiallogit": "Binomial(total_count = 10, logits = 0)",
    "binomiallogits": "Binomial(total_count = 10, logits = 0)",
    "categoricallogit": "Categorical[k](logits = w)",
    "categoricallogits": "Categorical[k](logits = w)",
    "poissonlog": "Poisson(log_rate = 1)",
    "poislog": "Poisson(log_rate = 1)",
}
"""What to write where a foreign name means one form of ours."""


def plain(name: str) -> str:
    """A name in lower case without underscores and spaces."""
    return name.replace("_", "").replace(" ", "").lower()


def distribution(name: str, known: Collection[str]) -> str | None:
    """Our name of a distribution that was meant, if one is near."""
    wanted = plain(name)
    ours = {k.lower(): k for k in known}
    if wanted in ours:
        return ours[wanted]
    if wanted in DISTRIBUTIONS and DISTRIBUTIONS[wanted] in known:
        return DISTRIBUTIONS[wanted]
    near = difflib.get_close_matches(wanted, [*ours, *DISTRIBUTIONS], n=1, cutoff=0.7)
    return (ours.get(near[0]) or DISTRIBUTIONS[near[0]]) if near else None


def parameter(name: str, known: Iterable[str], dist: str) -> tuple[str | None, str | None]:
    """(our name of a parameter that was meant, how to compute it if it is another number), None where none is near."""
    known = list(known)
    for ours in known:
        how = CONVERSIONS.get((name, ours))
        if how and (name, ours) == ("rate", "scale") and dist not in RATE_AS_SCALE:
            how = "scale = 1 / rate"
        if how:
            return ours, how
    lower = name.lower()
    for ours in PARAMETERS.get(lower, ()):
        if ours in known:
            return ours, None
    near = difflib.get_close_matches(lower, known, n=1, cutoff=0.6)
    return (near[0], None) if near else (None, None)
