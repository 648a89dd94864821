"""The record of a run: draws, statistics and moments as they arrive, in memory or in a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ir.dims import TensorType

from ..io.draws import Draws
from ..io.store import STORE, DrawsWriter, Spec, open_run
from ..report.html import installed_versions
from .choose import FIELD
from .keep import Kept
from .options import Common
from .tracers_of import tracer_coords, tracer_specs

if TYPE_CHECKING:
    from ..posterior import Posterior


class Record:
    """Takes blocks of draws; `finish` gives them as `Draws`, in memory or opened from the run folder `out`."""

    def __init__(
        self,
        posterior: Posterior,
        kept: Kept,
        extra: Mapping[str, Mapping[str, TensorType]],
        chains: int,
        options: Common,
        out: str | Path | None,
        seed: int,
    ):
        self.posterior, self.kept, self.extra, self.out = posterior, kept, extra, out
        self.options = options.stages()[-1]  # the one whose draws are kept
        self.notes = list((*posterior.bound.notes, *kept.notes))
        self.tracers = {s: x for n, t in kept.moments.items() for s, x in tracer_specs(n, t).items()}
        self.coords = {d: np.asarray(c) for d, c in posterior.bound.coords.items()}
        self.coords |= {d: c for n, t in kept.moments.items() for d, c in tracer_coords(n, t).items()}
        self.attrs = {
            "model": posterior.bound.model.name,
            "sampler": str(options),
            "seed": seed,
            "mesh": str(posterior.request.mesh),
            "versions": installed_versions(),
            "target_acceptance": getattr(options.stages()[-1], "target_accept", None),
            "max_tree_depth": getattr(options.stages()[-1], "max_depth", None),
            "population": options.stages()[-1].pooled,
            "energy_variance": getattr(options.stages()[-1], "energy_variance", None),
            "model_text": posterior.bound.model.text,
            **_field(posterior),
        }
        self.blocks: dict[str, dict[str, list[np.ndarray]]] = {}
        self.told: dict[str, Any] = {}
        self.writer: DrawsWriter | None = None
        if out is not None:
            Path(out).mkdir(parents=True, exist_ok=True)
            self.writer = DrawsWriter(
                Path(out) / STORE, self._schema(), chains, draws=options.draws, coords=self.coords, attrs=self.attrs
            )

    def _schema(self) -> dict[str, dict[str, Spec]]:
        spec = lambda t: Spec(t.names, t.shape, t.numpy)  # noqa: E731
        observed = {
            s: self.posterior.bound.data[d]
            for s, d in self.posterior.bound.observed.items()
            if d in self.posterior.bound.data
        }
        types = {i.name: i.type for i in self.posterior.bound.program.inputs}
        schema = {"posterior": {n: spec(t) for n, t in self.kept.draws.items()} | self.tracers}
        schema["sample_stats"] = {
            n: Spec(dtype=str(x.dtype)) for n, x in self.options.statistics(_no_info(self.options)).items()
        }
        schema |= {g: {n: spec(t) for n, t in ts.items()} for g, ts in self.extra.items()}
        schema["observed_data"] = {s: spec(types[self.posterior.bound.observed[s]]) for s in observed}
        schema["constant_data"] = {n: spec(types[n]) for n in self.posterior.bound.fixed}
        if self.kept.moments:
            schema["posterior_mean"] = {n: Spec(t.names, t.shape, "float64") for n, t in self.kept.moments.items()}
            schema["posterior_sd"] = dict(schema["posterior_mean"])
        return {g: s for g, s in schema.items() if s}

    def append(self, draws: Mapping[str, np.ndarray], info: Any, made: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """One block: [chain, draw, ...] of what is kept and traced, of the sampler's statistics, of predictions."""
        groups: dict[str, Mapping[str, np.ndarray]] = {"posterior": draws}
        groups["sample_stats"] = self.options.statistics(info)
        groups |= made
        groups = {g: b for g, b in groups.items() if b}
        if self.writer is not None:
            self.writer.append(**groups)
            return
        for group, block in groups.items():
            for name, x in block.items():
                self.blocks.setdefault(group, {}).setdefault(name, []).append(x)

    def tell(self, attrs: Mapping[str, Any], notes: Sequence[str]) -> None:
        """What the program says of the whole run."""
        self.told |= attrs
        self.notes += notes

    def finish(
        self,
        prior: Mapping[str, Mapping[str, Any]],
        moments: Mapping[str, tuple[np.ndarray, np.ndarray]],
        seconds: float,
        interrupted: bool,
        plan_text: str,
    ) -> Draws:
        """What was recorded, with mean and standard deviation of what is kept as moments."""
        bound = self.posterior.bound
        observed = {s: bound.data[d] for s, d in bound.observed.items() if d in bound.data}
        constant = {n: bound.data[n] for n in bound.fixed}
        static: dict[str, dict[str, np.ndarray]] = {"observed_data": observed, "constant_data": constant}
        if moments:
            static["posterior_mean"] = {n: mean for n, (mean, _) in moments.items()}
            static["posterior_sd"] = {n: sd for n, (_, sd) in moments.items()}
        static = {g: a for g, a in static.items() if a}
        facts = {"seconds": seconds, "interrupted": interrupted, "notes": list(self.notes), "plan_text": plan_text}
        facts |= self.told
        if self.writer is not None:
            self.writer.write(**static)
            self.writer.set_attrs(**facts)
            self.writer.close()
            stored = open_run(str(self.out))
            if not prior:
                return stored
            return self._with_prior(stored, prior)
        dims = {n: t.names for n, t in self.kept.draws.items()} | {n: s.dims for n, s in self.tracers.items()}
        dims |= {n: t.names for ts in self.extra.values() for n, t in ts.items() if n not in dims}
        types = {i.name: i.type.names for i in bound.program.inputs}
        groups: dict[str, dict[str, Any]] = {
            g: {n: (dims.get(n, ()) if g != "sample_stats" else (), np.concatenate(x, axis=1)) for n, x in b.items()}
            for g, b in self.blocks.items()
        }
        groups["observed_data"] = {s: (types[bound.observed[s]], x) for s, x in observed.items()}
        groups["constant_data"] = {n: (types[n], x) for n, x in constant.items()}
        for group in ("posterior_mean", "posterior_sd"):
            if group in static:
                groups[group] = {n: (self.kept.moments[n].names, x) for n, x in static[group].items()}
        groups |= {g: dict(v) for g, v in prior.items()}
        return Draws.of({g: v for g, v in groups.items() if v}, self.coords, {**self.attrs, **facts})

    def _with_prior(self, stored: Draws, prior: Mapping[str, Mapping[str, Any]]) -> Draws:
        """Prior draws come last, in a store of their own beside the posterior's, merged when the run is opened."""
        schema = {g: {n: Spec(dims, x.shape[2:], str(x.dtype)) for n, (dims, x) in v.items()} for g, v in prior.items()}
        path = Path(str(self.out)) / "prior.zarr"
        with DrawsWriter(path, schema, 1, coords=self.coords) as writer:
            writer.append(**{g: {n: x for n, (_, x) in v.items()} for g, v in prior.items()})
        merged = {**stored.groups, **open_run(path).groups}
        return Draws(merged, stored.coords, stored.attrs)


def _no_info(options: Common) -> Any:
    return options.info(*(np.zeros((1, 1)) for _ in options.info._fields))


def _field(posterior: Posterior) -> dict[str, Any]:
    """The size of the largest field, and the names of the latents beside fields; nothing without a field."""
    sizes = {n: t.size for n, t in posterior.latents.items()}
    if max(sizes.values(), default=0) < FIELD:
        return {}
    return {"field_size": max(sizes.values()), "beside_field": [n for n, size in sizes.items() if size < FIELD]}
