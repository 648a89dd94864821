"""Inference programs as their users write them: frozen options, checked when they are made.

`nuts(chains=4, draws=1000)` in Python and `infer nuts { draws = 1000 }` in a model file make the same record; the text
goes through `from_options`. A misspelt or foreign option is a `Diagnostic` that names ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ir.errors import Diagnostic

from .approximations import AdviOptions, LaplaceOptions, MapOptions, PathfinderOptions
from .hamiltonian import HmcOptions, NutsOptions
from .options import Common

FOREIGN = {
    **dict.fromkeys(("num_samples", "n_samples", "samples", "num_draws", "iter_sampling", "iterations"), "draws"),
    **dict.fromkeys(("num_warmup", "n_warmup", "tune", "num_tune", "iter_warmup", "burnin", "burn_in"), "warmup"),
    **dict.fromkeys(("num_chains", "n_chains", "nchains"), "chains"),
    **dict.fromkeys(("target_accept_prob", "target_accept_rate", "adapt_delta", "delta"), "target_accept"),
    **dict.fromkeys(("max_tree_depth", "max_treedepth", "treedepth", "max_doublings"), "max_depth"),
    **dict.fromkeys(("thinning", "thin_by"), "thin"),
    **dict.fromkeys(("stepsize", "epsilon", "eps"), "step_size"),
    **dict.fromkeys(("num_steps", "n_leapfrog", "num_leapfrog", "num_integration_steps", "n_steps"), "steps"),
    **dict.fromkeys(("block_size", "chunk_size"), "block"),
    **dict.fromkeys(("optimizer", "algorithm", "method"), "optimiser"),
    **dict.fromkeys(("max_iterations", "max_iter", "maxiter", "max_steps", "max_path", "max_lbfgs_iters"), "warmup"),
    **dict.fromkeys(("history_size", "maxcor", "memory"), "history"),
    **dict.fromkeys(("lr", "eta", "rate"), "learning_rate"),
    **dict.fromkeys(("tol", "gtol", "ftol", "tol_rel_obj"), "tolerance"),
    **dict.fromkeys(("grad_samples", "num_particles", "elbo_samples", "num_elbo_draws"), "samples"),
}
"""Other libraries' spellings of our options."""

_ELSEWHERE = {
    **dict.fromkeys(
        ("seed", "random_seed", "rng_key", "rng_seed", "key"),
        "the seed belongs to the run: posterior.run(nuts(...), seed=0), or --seed 0",
    ),
    **dict.fromkeys(
        ("cores", "chain_method", "parallel"),
        "how chains are spread over devices is the plan's: pin the dim 'chain', or leave it to the planner",
    ),
}


_PROGRAMS: dict[str, type[Common]] = {
    "nuts": NutsOptions,
    "hmc": HmcOptions,
    "map": MapOptions,
    "laplace": LaplaceOptions,
    "advi": AdviOptions,
    "pathfinder": PathfinderOptions,
}


def nuts(**options: Any) -> NutsOptions:
    """The no-U-turn sampler: `nuts(chains=4, draws=1000, warmup=1000, target_accept=0.8, max_depth=10, thin=1)`."""
    return from_options("nuts", options)  # type: ignore[return-value]


def hmc(**options: Any) -> HmcOptions:
    """Hamiltonian Monte Carlo: `hmc(steps=10, jitter=0.5)` and the options that all samplers share."""
    return from_options("hmc", options)  # type: ignore[return-value]


def map_(**options: Any) -> MapOptions:
    """The mode of the unconstrained posterior: `map(optimiser="lbfgs", chains=4, warmup=2000)`; `ppl.map`."""
    return from_options("map", options)  # type: ignore[return-value]


def laplace(**options: Any) -> LaplaceOptions:
    """The normal approximation at the mode: `laplace(draws=1000)` and the options of `map`."""
    return from_options("laplace", options)  # type: ignore[return-value]


def advi(**options: Any) -> AdviOptions:
    """Gaussian variational inference, mean-field or of low rank: `advi(rank=0, samples=1, learning_rate=0.05)`."""
    return from_options("advi", options)  # type: ignore[return-value]


def pathfinder(**options: Any) -> PathfinderOptions:
    """Pathfinder, one path a chain: `pathfinder(chains=4, draws=1000, history=6, samples=10)`."""
    return from_options("pathfinder", options)  # type: ignore[return-value]


def from_options(name: str, options: Mapping[str, Any]) -> Common:
    """The options record of the program `name`; raises `Diagnostic` for what it does not know."""
    if name not in _PROGRAMS:
        near = difflib.get_close_matches(name.lower(), _PROGRAMS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(_PROGRAMS)}"
        raise Diagnostic("argument", f"unknown inference program '{name}'", hint=hint)
    known = [f.name for f in fields(_PROGRAMS[name])]
    for option in options:
        if option not in known:
            raise Diagnostic("argument", f"{name} has no option '{option}'", hint=_option_hint(option, known))
    return _PROGRAMS[name](**options)


def _option_hint(option: str, known: list[str]) -> str:
    plain = option.lower()
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    if FOREIGN.get(plain) in known:
        return f"did you mean '{FOREIGN[plain]}'?"
    owners = [n for n, program in _PROGRAMS.items() if plain in {f.name for f in fields(program)}]
    if owners and plain not in known:
        return f"'{plain}' is an option of {' and '.join(owners)}"
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"its options are: {', '.join(known)}"
