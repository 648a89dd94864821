"""A run: starting points, compiled blocks driven from the host, draws stored as they are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

import backend_cuda as backend
from ir.errors import Diagnostic, InternalError

from ..execute import Executable
from ..limits import Beyond, enlarged, largest
from ..xla_flags import slow_loops
from . import rescue
from .adapt import LARGE_ERROR
from .after import After, prior_draws
from .choose import resolve
from .engine import Engine, space_of
from .fourier import Spectra
from .keep import Kept, choose, collect_program
from .needs import Met
from .options import Common
from .pace import Pace
from .pack import packing
from .progress import Progress, Stage, stages_of
from .protocol import Handover
from .record import Record
from .restrict import check_only
from .room import block_length, copies_of
from .space import Space
from .stages import prepared, settled_apart
from .start import begin
from .streaming import Reduction, Running
from .virial import LARGE, Virial

if TYPE_CHECKING:
    from ..posterior import Posterior
    from ..result import Result

PRIOR_DRAWS = 500
Watch = Callable[[Stage, int, Any], None]


def run(
    posterior: Posterior,
    options: Common | None = None,
    *,
    seed: int = 0,
    init: Any = "prior",
    keep: Sequence[str] | None = None,
    out: str | Path | None = None,
    progress: bool | None = None,
    predictive: bool = True,
    watch: Watch | None = None,
) -> Result:
    """Draws from a posterior.

    options: an inference program, as `ppl.nuts(...)` or `ppl.map() >> ppl.nuts()` (default: chosen from the graph, see
        `ppl.infer.choose`).
    seed: a whole number; the same seed, chains and mesh give the same draws.
    init: see `ppl.infer.start.begin`.
    keep: names of the quantities to keep (default: every latent and saved deterministic); of those whose draws do not
        fit, mean, standard deviation and tracers (`ppl.infer.tracers_of`).
    out: a run folder to write draws to as they are made.
    progress: show a progress bar (default: when there is a terminal).
    predictive: also draw from the prior and posterior predictive and compute log likelihoods.
    watch: called after each block with the stage, its transitions done so far and the block's info.

    An interrupt ends the run early; what was drawn is kept.
    """
    from ..result import Result

    if options is not None and not isinstance(options, Common):
        raise Diagnostic(
            "argument",
            f"expected an inference program, but got {type(options).__name__}",
            hint="for example ppl.nuts(chains=4)",
        )
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise Diagnostic("argument", f"the seed must be a whole number from 0, not {seed!r}", where="seed")
    if not posterior.latents:
        raise Diagnostic("run", "the model has no latent quantity: there is nothing to infer")
    options, reasons = resolve(options, posterior)
    started = time.perf_counter()
    latents = sum(t.size for t in posterior.latents.values())
    program = settled_apart(options if isinstance(init, Result) else prepared(options, latents), latents)
    with Progress(progress, program) as bar:
        bar.say("compiling")
        names = tuple(keep) if keep is not None else None
        posterior, setup, handover = _begun(posterior, program, names, predictive, int(seed), init)
        gradient, interrupted = setup.engines[-1].gradient, handover is None
        extra = setup.after.types() if setup.after else {}
        shown = 1 if options.pooled else options.chains
        record = Record(posterior, setup.kept, extra, shown, options, out, int(seed))
        record.notes += _notes(posterior, options, reasons) + _not_native(setup.engines)
        if setup.engines[-1].packing.parts:
            record.notes += slow_loops(gradient.devices)
        spectra = setup.engines[-1].spectra
        mesh_bound = sorted({*gradient.mesh_bound, *(spectra.mesh_bound if spectra is not None else ())})
        if gradient.reproducible and mesh_bound:
            record.notes.append(f"sums of {', '.join(mesh_bound)} follow the mesh: draws are not reproducible on it")
        running = Running(setup.reduction, options.chains) if setup.reduction else None
        store = _Store(posterior, setup, record, int(seed), running)
        met = Met(posterior)
        try:
            for stage, engine in zip(stages_of(program), setup.engines, strict=True):
                if handover is None:
                    break
                bar.begin(stage)
                kept = store if engine.keep else None
                handover = _stage(stage, engine, int(seed), handover, bar, kept, watch, record.notes, met)
        except KeyboardInterrupt:
            interrupted = True
        prior = {}
        if predictive and not interrupted:
            bar.say("drawing from the prior")
            prior = prior_draws(posterior, int(seed), PRIOR_DRAWS, record.notes)
        if not interrupted:
            record.tell(*setup.engines[-1].options.report(store.told))
        record.tell(store.virial[0].attrs() if store.virial else {}, [])
        record.tell(*met.report())
        seconds = time.perf_counter() - started
        moments = running.finish() if running else {}
        draws = record.finish(prior, moments, seconds, interrupted, plan_text=setup.plan_text)
    return Result(posterior, options, draws, int(seed), record.notes, interrupted, handover)


def _begun(
    posterior: Posterior, program: Common, keep: tuple[str, ...] | None, predictive: bool, seed: int, init: Any
) -> tuple[Posterior, _Setup, Handover | None]:
    """The posterior, with more room for particles where no chain could start without it; where its chains start, None
    for an interrupt."""
    posterior, tries = largest(posterior), 0
    while True:
        setup = _Setup.of(posterior, program, keep, predictive)
        try:
            return posterior, setup, begin(posterior, setup.engines[0], program.chains, seed, init)
        except Beyond as beyond:
            posterior, tries = enlarged(posterior, beyond.exceeded, tries), tries + 1
        except KeyboardInterrupt:
            return posterior, setup, None


def _notes(posterior: Posterior, options: Common, reasons: str | None) -> list[str]:
    """What a user may not expect: a program that was chosen and is not the usual one, latents that never move."""
    *_, last = options.stages()
    found = [f"the program was chosen: {options}: {reasons}"] if reasons and last.name != "nuts" else []
    if last.only is not None:
        still = [n for n in posterior.latents if n not in last.only]
        found += [f"{', '.join(still)} stayed in place: the last stage moves only {', '.join(last.only)}"] * bool(still)
    return found


def _not_native(engines: Sequence[Engine]) -> list[str]:
    """Which stages leave their collectives to `jax.lax`, whatever was planned or asked for."""
    names = [e.options.name for e in engines if e.options.forward and e.gradient.collectives is not backend.LAX]
    return [f"{n} takes forward derivatives, which native collectives do not have: it ran on jax.lax's" for n in names]


def _strained(state: Any, options: Common) -> list[str]:
    """Which chains take shorter steps than usual, when the draws begin."""
    strained = getattr(getattr(state.inner, "adapt", None), "strained", None)
    aim = getattr(options, "target_accept", None)
    if strained is None or aim is None or "target_accept" in options.given:
        return []
    chains = np.flatnonzero(np.asarray(strained))
    if not len(chains):
        return []
    which = f"chain{'s' * (len(chains) > 1)} {', '.join(map(str, chains))}"
    return [
        f"warm-up met energy errors above {LARGE_ERROR:g} again and again in {which}, so that steps there aim at an "
        f"acceptance of {0.5 * (1 + aim):g}: the posterior has a region that is much narrower than the rest"
    ]


def _stage(
    stage: Stage,
    engine: Engine,
    seed: int,
    handover: Handover,
    bar: Progress,
    store: _Store | None,
    watch: Watch | None,
    notes: list[str],
    met: Met,
) -> Handover:
    """One stage: its warm-up, until it has finished or the transitions are done, and its draws if they are stored.

    What is to be told joins the notes at once, so that an interrupt does not lose it.
    """
    options, compared = engine.options, rescue.when(engine)
    state, schedule = engine.start(seed, handover), options.schedule()
    ends = [options.warmup] + ([options.warmup + options.draws] if store is not None else [])
    ends = sorted({*ends, *([compared] if compared else [])})
    done, pace, log_density = 0, Pace.of(options, engine.length), []
    for end in ends:
        if end > options.warmup and store is not None:
            store.begin(engine, state)
            notes += _strained(state, options)
        while done < end:
            limit, began = min(pace.now, end - done), time.perf_counter()
            block = engine.advance(seed, state, schedule.part(done, engine.length), limit)
            state, info = block.state, _cut_info(block.info, limit)
            pace.took(time.perf_counter() - began)
            met.add(engine.gradient, block.needs, store is not None and done >= options.warmup)
            if store is not None and options.pooled:
                store.told.append(info)
            if compared and done < compared:
                log_density.append(info.log_density)
            if done >= options.warmup and store is not None:
                store.add(engine, block.draws, info, (done - options.warmup) // options.thin)
                store.virial[0].add(state)
            done += limit
            bar.advance(done, info)
            if watch is not None:
                watch(stage, done, info)
            if done < options.warmup and backend.to_host(block.finished).all():
                done = options.warmup
        if end == compared:
            state, told = rescue.rescue(engine, state, log_density)
            notes += told
    return engine.handover(state)


@dataclass(frozen=True, eq=False)
class _Store:
    """Where the draws of the last stage go, with what is computed of them."""

    posterior: Posterior
    setup: _Setup
    record: Record
    seed: int
    running: Running | None = None
    """The moments of what is too large to keep."""
    told: list[Any] = field(default_factory=list)
    """The infos of a population's blocks, warm-up included."""
    virial: list[Virial] = field(default_factory=list)
    """Of the draws, once they begin."""

    def begin(self, engine: Engine, state: Any) -> None:
        """The state that draws start from."""
        self.virial.append(Virial(engine, state, -(-engine.options.draws // engine.length)))

    def add(self, engine: Engine, made: Mapping[str, jax.Array], info: Any, first: int) -> None:
        """A block's draws, of which `first` came before, and the info of its transitions."""
        assert engine.collect is not None
        thin, after = engine.options.thin, self.setup.after
        rows = info.leapfrogs.shape[1] // thin
        draws = _host(engine.collect, {n: made[n] for n in self.setup.kept.draws}, rows)
        if self.running is not None:
            draws |= self.running.add(made, rows)
        more = after.run(self.posterior, made, self.seed, first, rows) if after is not None and after.parts else {}
        info = type(info)(*(x[:, thin - 1 :: thin] for x in info))
        if engine.options.pooled:
            draws, info, more = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), (draws, info, more))
        self.record.append(draws, info, more)


@dataclass(frozen=True, eq=False)
class _Setup:
    """What a run compiles: kept by the posterior, so that a second run with the same options starts at once."""

    engines: tuple[Engine, ...]
    after: After | None
    kept: Kept
    reduction: Reduction | None

    @cached_property
    def plan_text(self) -> str:
        """The plan of the gradient program as it is printed."""
        import planner

        gradient = self.engines[-1].gradient
        return planner.format_plan(gradient.program, gradient.plan)

    @classmethod
    def of(cls, posterior: Posterior, options: Common, keep: tuple[str, ...] | None, predictive: bool) -> _Setup:
        cache = posterior.__dict__.setdefault("_setups", {})
        # Equal options may have been given in other words, and what is not given may adapt.
        key = (options, tuple(stage.given for stage in options.stages()), keep, predictive)
        if key not in cache:
            cache[key] = cls.make(posterior, options, keep, predictive)
        return cache[key]

    @classmethod
    def make(
        cls,
        posterior: Posterior,
        options: Common,
        keep: tuple[str, ...] | None,
        predictive: bool,
        abstract: bool = False,
    ) -> _Setup:
        """`abstract`: the data are shapes only, for programs that are compiled and not run (`ppl.aot`)."""
        for stage in options.stages():
            check_only(stage.only, posterior.latents)
        chains, draws = options.chains, options.draws // options.thin
        kept = choose(posterior, keep, chains * draws)
        gradient = posterior.gradient_program(chains, copies_of(posterior, options, kept), options.reproducible)
        fixed = {i.name: gradient.plan.layouts[i.name] for i in gradient.program.inputs_of("latent")}
        after = After.make(posterior, kept, fixed, chains, draws) if predictive else None
        free = bool(after and after.parts)
        handed = {f"free:{n}": layout for n, layout in fixed.items()} if free else {}
        collect = posterior.executable(collect_program(posterior, kept, chains, free), fixed | handed)
        data = _abstract_data(gradient) if abstract else posterior.hoisted(gradient)
        *first, last = options.stages()
        metric = _Metric.make(posterior, options, gradient, abstract)
        few = [
            stage.packs and _few(space_of(gradient, stage.only, metric.of(stage).get("spectra")))
            for stage in options.stages()
        ]
        engines = [
            Engine(gradient, data, stage, block_length(stage, packed=packed), keep=False, **metric.of(stage))
            for stage, packed in zip(first, few, strict=False)
        ]
        if free and any(collect.plan.output_layout(collect.program, f"free:{n}") != x for n, x in fixed.items()):
            raise InternalError("the latents of draws left a block in other layouts than predictions take them in")
        length = block_length(last, sum(v.type.size * v.type.itemsize for _, v in collect.program.outputs), few[-1])
        collected = _abstract_data(collect) if abstract else _store_data(posterior, collect)
        engines.append(Engine(gradient, data, last, length, collect, collected, **metric.of(last)))
        reduction = Reduction(collect, tuple(kept.moments)) if kept.moments else None
        return cls(tuple(engines), after, kept, reduction)


def _few(space: Space) -> bool:
    """Whether latents are packed, and none is measured at the ends of blocks, of which there must then be many."""
    return bool(packing(space).parts) and all(s.degrees <= LARGE for s in space.sites)


@dataclass(frozen=True, eq=False)
class _Metric:
    """What a stage may want beside the gradient: products with the Fisher information, transforms of fields."""

    metric: Executable | None = None
    metric_data: dict[str, Any] | None = None
    spectra: Spectra | None = None

    @classmethod
    def make(cls, posterior: Posterior, options: Common, gradient: Executable, abstract: bool = False) -> _Metric:
        asked = any(stage.transforms for stage in options.stages())
        spectra = posterior.spectra(gradient, options.chains, options.copies()) if asked else None
        if not any(stage.informed for stage in options.stages()):
            return cls(spectra=spectra)
        metric = posterior.metric_program(gradient, options.chains, options.copies())
        if abstract:
            return cls(metric, _abstract_data(metric), spectra)
        return cls(metric, posterior.hoisted(metric, posterior.metric_programs[0]), spectra)

    def of(self, stage: Common) -> dict[str, Any]:
        """An engine's arguments."""
        found: dict[str, Any] = {"metric": self.metric, "metric_data": self.metric_data} if stage.informed else {}
        # All stages of a program that has one with a metric of plane waves: what is handed on fits the next one.
        return {**found, "spectra": self.spectra}


def _abstract_data(executable: Executable) -> dict[str, Any]:
    return {i.name: executable.abstract(i.name) for i in executable.program.inputs_of("data")}


def _store_data(posterior: Posterior, executable: Executable) -> dict[str, jax.Array]:
    return {
        i.name: executable.store(i.name, posterior.bound.data[i.name]) for i in executable.program.inputs_of("data")
    }


def _host(collect: Executable, draws: Mapping[str, jax.Array], rows: int) -> dict[str, np.ndarray]:
    """The block's draws on the host, [chain, draw, ...], padding cut off."""
    found = {}
    types = {n: v.type for n, v in collect.program.outputs}
    for name, x in draws.items():
        whole = np.moveaxis(backend.to_host(x), 1, 0)[:rows]
        found[name] = np.moveaxis(backend.gather(whole, types[name]), 0, 1)
    return found


def _cut_info(info: Any, limit: int) -> Any:
    return type(info)(*(backend.to_host(x)[:, :limit] for x in info))
