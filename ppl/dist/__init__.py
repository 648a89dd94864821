"""The distributions of the language, called as in a model: `Normal(0, 10)`, `Dirichlet(2, event="k")`."""

from .make import FAMILIES, Constructor, DistCall, describe_all

Bernoulli = Constructor(FAMILIES["Bernoulli"])
Beta = Constructor(FAMILIES["Beta"])
Binomial = Constructor(FAMILIES["Binomial"])
Categorical = Constructor(FAMILIES["Categorical"])
Cauchy = Constructor(FAMILIES["Cauchy"])
Dirichlet = Constructor(FAMILIES["Dirichlet"])
Exponential = Constructor(FAMILIES["Exponential"])
Flat = Constructor(FAMILIES["Flat"])
Gamma = Constructor(FAMILIES["Gamma"])
Geometric = Constructor(FAMILIES["Geometric"])
Gumbel = Constructor(FAMILIES["Gumbel"])
HalfCauchy = Constructor(FAMILIES["HalfCauchy"])
HalfFlat = Constructor(FAMILIES["HalfFlat"])
HalfNormal = Constructor(FAMILIES["HalfNormal"])
HalfStudentT = Constructor(FAMILIES["HalfStudentT"])
InverseGamma = Constructor(FAMILIES["InverseGamma"])
Laplace = Constructor(FAMILIES["Laplace"])
LogNormal = Constructor(FAMILIES["LogNormal"])
Logistic = Constructor(FAMILIES["Logistic"])
MvNormal = Constructor(FAMILIES["MvNormal"])
NegativeBinomial = Constructor(FAMILIES["NegativeBinomial"])
Normal = Constructor(FAMILIES["Normal"])
Pareto = Constructor(FAMILIES["Pareto"])
Poisson = Constructor(FAMILIES["Poisson"])
StudentT = Constructor(FAMILIES["StudentT"])
TruncatedNormal = Constructor(FAMILIES["TruncatedNormal"])
Uniform = Constructor(FAMILIES["Uniform"])
Weibull = Constructor(FAMILIES["Weibull"])

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Dirichlet",
    "DistCall",
    "Exponential",
    "Flat",
    "Gamma",
    "Geometric",
    "Gumbel",
    "HalfCauchy",
    "HalfFlat",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "Laplace",
    "LogNormal",
    "Logistic",
    "MvNormal",
    "NegativeBinomial",
    "Normal",
    "Pareto",
    "Poisson",
    "StudentT",
    "TruncatedNormal",
    "Uniform",
    "Weibull",
    "describe_all",
]
