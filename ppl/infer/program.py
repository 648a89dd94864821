"""Inference programs as their users write them: frozen options, checked when they are made.

`nuts(chains=4, draws=1000)` in Python and `infer nuts(draws = 1000)` in a model file make the same record; the text
goes through `ppl.infer.written.make`, and both through `from_options`. A misspelt or foreign option is a `Diagnostic`
that names ours. Programs are joined with `>>` (`ppl.infer.stages`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ir.errors import Diagnostic

from .approximations import AdviOptions, LaplaceOptions, MapOptions, MgviOptions, PathfinderOptions
from .blocks import GibbsOptions, with_blocks
from .direct import ConjugateOptions, ExactOptions, SliceOptions
from .hamiltonian import HmcOptions, NutsOptions
from .lockstep import CheesOptions
from .microcanonical import MamsOptions, MclmcOptions
from .options import Common, option_text
from .population import SmcOptions

FOREIGN = {
    **dict.fromkeys(("num_samples", "n_samples", "samples", "num_draws", "iter_sampling", "iterations"), "draws"),
    **dict.fromkeys(("num_warmup", "n_warmup", "tune", "num_tune", "iter_warmup", "burnin", "burn_in"), "warmup"),
    **dict.fromkeys(("num_chains", "n_chains", "nchains"), "chains"),
    **dict.fromkeys(("target_accept_prob", "target_accept_rate", "adapt_delta", "delta"), "target_accept"),
    **dict.fromkeys(("max_tree_depth", "max_treedepth", "treedepth", "max_doublings"), "max_depth"),
    **dict.fromkeys(("max_rank", "low_rank"), "rank"),
    **dict.fromkeys(("thinning", "thin_by"), "thin"),
    **dict.fromkeys(("stepsize", "epsilon", "eps"), "step_size"),
    **dict.fromkeys(("num_steps", "n_leapfrog", "num_leapfrog", "num_integration_steps", "n_steps"), "steps"),
    **dict.fromkeys(("max_sampling_steps", "max_leapfrog_steps", "max_leapfrogs"), "most"),
    **dict.fromkeys(("block_size", "chunk_size"), "block"),
    **dict.fromkeys(("num_particles", "n_particles", "chains"), "particles"),
    **dict.fromkeys(("ess_threshold", "target_ess", "ess"), "effective"),
    **dict.fromkeys(("l", "trajectory_length", "path_length", "momentum_decoherence_length"), "length"),
    **dict.fromkeys(("desired_energy_var", "desired_energy_variance", "eevpd", "energy_var"), "energy_variance"),
    **dict.fromkeys(("diagonal_preconditioning", "adapt_mass_matrix"), "adapt_metric"),
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


@dataclass(frozen=True, kw_only=True)
class AutoOptions(Common):
    """The program that `ppl.infer.choose` finds for a posterior; `further` are the options of its last stage."""

    further: tuple[tuple[str, Any], ...] = ()
    name: ClassVar[str] = "auto"

    def settings(self) -> dict[str, Any]:
        return dict(self.further)

    def written(self, leave_out: tuple[str, ...] = ()) -> str:
        told = (f"{n} = {option_text(x)}" for n, x in self.further if n not in leave_out)
        return f"auto({', '.join(told)})"


_PROGRAMS: dict[str, type[Common]] = {
    **{"nuts": NutsOptions, "hmc": HmcOptions, "mclmc": MclmcOptions, "mams": MamsOptions},
    **{"chees": CheesOptions, "slice": SliceOptions, "exact_gaussian": ExactOptions},
    "conjugate": ConjugateOptions,
    **{"gibbs": GibbsOptions, "smc": SmcOptions, "auto": AutoOptions},
    **{"map": MapOptions, "laplace": LaplaceOptions, "advi": AdviOptions, "pathfinder": PathfinderOptions},
    "mgvi": MgviOptions,
}


def auto(**options: Any) -> Common:
    """The program chosen from the model's graph (`posterior.suggest()` says which and why).

    Options are those of its last stage: `auto(draws=500)`; `chains` counts for all of its stages.
    """
    return from_options("auto", options)


def nuts(**options: Any) -> NutsOptions:
    """The no-U-turn sampler: `nuts(chains=4, draws=1000, warmup=1000, target_accept=0.8, max_depth=10, thin=1)`."""
    return from_options("nuts", options)  # type: ignore[return-value]


def hmc(**options: Any) -> HmcOptions:
    """Hamiltonian Monte Carlo: `hmc(steps=10, jitter=0.5, integrator="leapfrog")` and what all samplers share."""
    return from_options("hmc", options)  # type: ignore[return-value]


def mclmc(**options: Any) -> MclmcOptions:
    """Microcanonical Langevin dynamics, unadjusted, for many latents: `mclmc(draws=10000, thin=10, warmup=4000)`."""
    return from_options("mclmc", options)  # type: ignore[return-value]


def mams(**options: Any) -> MamsOptions:
    """Metropolis-adjusted microcanonical trajectories: `mams(length=1.3, target_accept=0.9)`; exact, as `nuts` is."""
    return from_options("mams", options)  # type: ignore[return-value]


def chees(**options: Any) -> CheesOptions:
    """Hamiltonian trajectories of one length, adapted to all chains: `chees(chains=16, draws=1000, warmup=1000)`."""
    return from_options("chees", options)  # type: ignore[return-value]


def slice(**options: Any) -> SliceOptions:
    """Slice sampling, for few latents: `slice(width=1.0, expansions=10)` and the options that all samplers share."""
    return from_options("slice", options)  # type: ignore[return-value]


def exact_gaussian(**options: Any) -> ExactOptions:
    """Independent draws of a Gaussian, found from gradients: `exact_gaussian(tolerance=1e-3)`."""
    return from_options("exact_gaussian", options)  # type: ignore[return-value]


def conjugate(**options: Any) -> ConjugateOptions:
    """Independent draws of scales and probabilities of conjugate laws: `gibbs(tau=conjugate(), mu=nuts())`."""
    return from_options("conjugate", options)  # type: ignore[return-value]


def gibbs(blocks: Any = None, /, **options: Any) -> GibbsOptions:
    """Gibbs sampling over blocks: `gibbs({("mu", "tau"): nuts(), "theta": hmc()}, draws=1000)`,
    `gibbs(theta=slice(), rest=nuts(), repeats=2)`.
    """
    given = {} if blocks is None else {"blocks": blocks}
    return from_options("gibbs", {**given, **options})  # type: ignore[return-value]


def smc(**options: Any) -> SmcOptions:
    """Adaptive tempered sequential Monte Carlo, with the evidence: `smc(particles=1000, effective=0.7, moves=3)`."""
    return from_options("smc", options)  # type: ignore[return-value]


def map_(**options: Any) -> MapOptions:
    """The mode of the unconstrained posterior: `map(optimiser="lbfgs", chains=4, warmup=2000)`; `ppl.map`."""
    return from_options("map", options)  # type: ignore[return-value]


def laplace(**options: Any) -> LaplaceOptions:
    """The normal approximation at the mode: `laplace(draws=1000)` and the options of `map`."""
    return from_options("laplace", options)  # type: ignore[return-value]


def advi(**options: Any) -> AdviOptions:
    """Gaussian variational inference, mean-field or of low rank: `advi(rank=0, samples=1, learning_rate=0.05)`."""
    return from_options("advi", options)  # type: ignore[return-value]


def mgvi(**options: Any) -> MgviOptions:
    """Metric Gaussian variational inference, for fields: `mgvi(samples=8, draws=1000)`."""
    return from_options("mgvi", options)  # type: ignore[return-value]


def pathfinder(**options: Any) -> PathfinderOptions:
    """Pathfinder, one path a chain: `pathfinder(chains=4, draws=1000, history=6, samples=10)`."""
    return from_options("pathfinder", options)  # type: ignore[return-value]


def from_options(name: str, options: Mapping[str, Any]) -> Common:
    """The options record of the program `name`; raises `Diagnostic` for what it does not know."""
    if name not in _PROGRAMS:
        near = difflib.get_close_matches(name.lower(), _PROGRAMS, n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(_PROGRAMS)}"
        raise Diagnostic("argument", f"unknown inference program '{name}'", hint=hint)
    options = {n: tuple(x) if isinstance(x, list) else x for n, x in options.items()}
    if name == "auto":
        shared = {n: x for n, x in options.items() if n in _options(Common)}
        return AutoOptions(**shared, further=tuple(options.items()), given=frozenset(shared))
    options = with_blocks(options) if name == "gibbs" else options
    known = _options(_PROGRAMS[name])
    for option in options:
        if option not in known:
            hint = _option_hint(option, known)
            if name == "gibbs" and hint.startswith("its options"):
                hint += f"; a block is a sampler: {option}=nuts()"
            raise Diagnostic("argument", f"{name} has no option '{option}'", hint=hint)
    return _PROGRAMS[name](**options, given=frozenset(options))


def available(name: str) -> bool:
    """Whether there is a program of this name."""
    return name in _PROGRAMS


def _options(program: type[Common]) -> list[str]:
    return [f.name for f in fields(program) if f.init and f.name not in ("given", "further")]


def _option_hint(option: str, known: list[str]) -> str:
    plain = option.lower()
    if plain in _ELSEWHERE:
        return _ELSEWHERE[plain]
    if FOREIGN.get(plain) in known:
        return f"did you mean '{FOREIGN[plain]}'?"
    owners = [n for n, program in _PROGRAMS.items() if plain in _options(program)]
    if owners and plain not in known:
        return f"'{plain}' is an option of {' and '.join(owners)}"
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"its options are: {', '.join(known)}"
