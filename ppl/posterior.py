"""A compiled posterior: its log density and gradient as functions, and the programs that a run needs."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

import backend_cuda as backend
from ir.dims import CHAIN, TensorType
from ir.errors import Diagnostic
from ir.graph import Program
from ir.layout import Layout
from ir.ops.fft import Fourier
from ir.ops.sites import Limit
from ir.passes.align_transforms import align_transforms
from ir.passes.bands import FIELD, GAIN, Bands, banded
from ir.passes.checkpoint import is_open
from ir.passes.enlarge import enlarge, manners_of
from ir.passes.expand import log_density, predict, prior, unconstrain_given
from ir.passes.recentre import recentre
from ir.passes.simplify import simplify
from ir.verify import verify

from .bind import Bound
from .execute import Executable
from .pipeline import batch, gradients, keep, metric_stages, stages
from .request import PlanRequest

if TYPE_CHECKING:
    from .infer.choose import Suggestion
    from .infer.fourier import Spectra


class Posterior:
    """The posterior of a model given data on a device mesh.

    Latents are unconstrained: positive ones in their logarithm, and so on; `constrain` and `unconstrain` translate.
    Everything is compiled when it is first used.
    """

    def __init__(self, bound: Bound, request: PlanRequest):
        self.bound, self.request = bound, request
        self._gradients: dict[tuple[int | None, float, bool], Executable] = {}
        self.larger: Posterior | None = None
        """With more room for particles, where a run found that it takes it (see `ppl.limits`)."""

    # --- programs and plans ---

    @cached_property
    def programs(self) -> dict[str, Program]:
        """Every stage by name, verified."""
        found = dict(stages(self.bound))
        for program in found.values():
            verify(program)
        return found

    @cached_property
    def devices(self) -> jax.sharding.Mesh:
        return backend.device_mesh(self.request.mesh)

    @cached_property
    def latents(self) -> dict[str, TensorType]:
        """The unconstrained latents by name."""
        return {i.name: i.type for i in self.programs["gradient"].inputs_of("latent")}

    @cached_property
    def limits(self) -> dict[str, Limit]:
        """What devices can hold of particles, by site."""
        return {n.op.site: n.op for n in self.bound.program.walk() if isinstance(n.op, Limit)}

    def gradient_program(
        self, chains: int | None = None, copies: float = 0.0, reproducible: bool = False
    ) -> Executable:
        """Value and gradient over a number of chains (None: without a chain dim), planned to leave a sampler room.

        `copies` counts the sampler's own vectors (`Common.copies` of its options); they matter where memory binds.
        `reproducible`: its sums have the same bits on every mesh.
        """
        key = chains, copies, reproducible
        if key not in self._gradients:
            programs = self._open_gradients
            if chains is not None:
                programs = [verify(batch(program, chains)) for program in programs]
            asked = self.request if chains is not None else self.request.without_chains()
            request = dataclasses.replace(asked, copies=copies)
            program, plan = request.fastest(programs)
            self._gradients[key] = Executable(program, plan, self.devices, reproducible)
        return self._gradients[key]

    @cached_property
    def _open_gradients(self) -> list[Program]:
        """The gradient's program by the choices that the plan has to make: mostly one."""
        return gradients(self.bound) if is_open(self.programs["hoisted"]) else [self.programs["gradient"]]

    @cached_property
    def metric_programs(self) -> tuple[Program, Program]:
        """(prologue, main) of the products with the Fisher information, verified; a `Diagnostic` where a site's is not
        known."""
        found = metric_stages(self.bound)
        for program in found:
            verify(program)
        return found

    def metric_program(self, gradient: Executable, chains: int, copies: float = 0.0) -> Executable:
        """The products with the Fisher information, on latents that lie as those of a gradient program."""
        program = batch(self.metric_programs[1], chains)
        verify(program)
        fixed = {i.name: gradient.plan.layouts[i.name] for i in program.inputs_of("latent")}
        plan = dataclasses.replace(self.request, copies=copies).solve(program, fixed, pins=False)
        return Executable(program, plan, self.devices)

    @cached_property
    def transformed(self) -> dict[str, tuple[str, ...]]:
        """The dims of each latent along which the model transforms something, of those that it so transforms any."""
        # The density and not its gradient, which transforms both ways.
        ops = [n.op for n in self.programs["density"].walk() if isinstance(n.op, Fourier)]
        dims = {pair[op.to_signal] for op in ops for pair in op.pairs}
        found = {n: tuple(d.name for d in t.dims if d.name in dims and d.size > 1) for n, t in self.latents.items()}
        return {n: names for n, names in found.items() if names and self.latents[n].is_real}

    def spectra(self, gradient: Executable, chains: int, copies: float = 0.0) -> Spectra | None:
        """The planned transforms of the latents that have some, which lie as those of a gradient program."""
        from .infer.fourier import Spectra

        programs, bands = {}, {}
        for name, dims in self.transformed.items():
            lies = gradient.plan.layouts[name]
            program = banded(name, self.latents[name], dims)
            program = batch(simplify(align_transforms(program)), chains)
            verify(program)
            fixed = {FIELD: lies, GAIN: Layout.of({CHAIN: lies.axes(CHAIN)})}
            plan = dataclasses.replace(self.request, copies=copies).solve(program, fixed, pins=False)
            programs[name] = Executable(program, plan, self.devices, gradient.reproducible)
            bands[name] = Bands(tuple(self.latents[name][d] for d in dims))
        return Spectra(programs, bands) if programs else None

    def hoisted(self, gradient: Executable, prologue: Program | None = None) -> dict[str, jax.Array]:
        """Every data input of a gradient program as a stored array: the user's data, and what depends on them only.

        `prologue` makes the latter where it is not that of the gradient.
        """
        program = gradient.program
        wanted = {i.name for i in program.inputs_of("data")}
        arrays: dict[str, Any] = {n: self.bound.data[n] for n in wanted if n in self.bound.data}
        prologue = self.programs["prologue"] if prologue is None else prologue
        made = [n for n, _ in prologue.outputs if n in wanted]
        if made:
            prologue = keep(prologue, made)
            fixed = {n: gradient.plan.layouts[n] for n in made}
            plan = self.request.solve(prologue, fixed, pins=False)
            arrays |= Executable(prologue, plan, self.devices).run(self.bound.data, stored=True)
        return {n: a if isinstance(a, jax.Array) else gradient.store(n, a) for n, a in arrays.items()}

    def program(self, what: str) -> Program:
        """A further program: "density" (all named outputs), "given", "predict" or "prior", simplified."""
        sites = recentre(self.bound.program)
        made = {"density": log_density, "given": unconstrain_given, "predict": predict, "prior": prior}[what](sites)
        return simplify(made)

    def executable(self, program: Program, fixed: Mapping[str, Layout] | None = None) -> Executable:
        """A further program, planned; particles are owned as in the gradients that were planned before."""
        for gradient in self._gradients.values():
            program = enlarge(program, manners_of(gradient.program, gradient.plan))
        verify(program)
        return Executable(program, self.request.solve(program, fixed, pins=False), self.devices)

    # --- the log density as a function ---

    @cached_property
    def _value_and_gradient(self) -> Any:
        gradient = self.gradient_program()
        # It may be first asked for inside a trace, whose tracers must not stay in what is kept: a thread has none.
        with ThreadPoolExecutor(1) as outside:
            data = outside.submit(self.hoisted, gradient).result()
        plan, mesh = gradient.plan, self.request.mesh

        def f(position: Mapping[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
            args = []
            for i in gradient.program.inputs:
                if i.name in data:
                    args.append(data[i.name])
                    continue
                x = jnp.asarray(position[i.name]).astype(i.type.numpy)
                shape = backend.stored_shape(i.type, plan.layouts[i.name], mesh)
                pads = [(0, s - n) for s, n in zip(shape, x.shape, strict=True)]
                args.append(jnp.pad(x, pads) if any(p for _, p in pads) else x)
            made = gradient.whole(*args)
            cut = {n: made[f"grad:{n}"][tuple(slice(0, s) for s in t.shape)] for n, t in self.latents.items()}
            return made["log_density"], cut

        return f

    @cached_property
    def _jitted(self) -> Any:
        return jax.jit(self._value_and_gradient)

    def value_and_gradient(self, position: Mapping[str, Any]) -> tuple[float, dict[str, np.ndarray]]:
        """The log density at unconstrained values and its gradient, as NumPy numbers (the density in float64)."""
        self._check(position)
        with jax.enable_x64(True):
            value, gradient = self._jitted({n: np.asarray(x) for n, x in position.items()})
        return np.float64(value), {n: backend.to_host(g) for n, g in gradient.items()}

    @cached_property
    def log_density(self) -> Any:
        """The log density as an ordinary JAX function of a dict of unconstrained values: jit, grad and vmap work on it.

        Its derivative is the planned gradient. Outside a 64-bit context its value is rounded to float32. Where a plan
        splits a latent unevenly, its gradient is gathered along that dim on the way out: JAX arrays have no uneven
        shards. Samplers of this package work on the blocks and gather nothing.
        """
        f = self._value_and_gradient

        def narrow(x: jax.Array) -> jax.Array:
            return x if wide else x.astype(jnp.float32)

        wide = False

        def both(position: Mapping[str, jax.Array]):
            nonlocal wide
            wide = bool(jax.config.jax_enable_x64)
            self._check(position)
            with jax.enable_x64(True):
                value, gradient = f(position)
                return narrow(value), {n: g.astype(jnp.asarray(position[n]).dtype) for n, g in gradient.items()}

        @jax.custom_vjp
        def log_density(position: Mapping[str, jax.Array]) -> jax.Array:
            return both(position)[0]

        def backward(gradient: Any, cotangent: jax.Array):
            return ({n: (cotangent.astype(g.dtype) * g) for n, g in gradient.items()},)

        log_density.defvjp(both, backward)
        return log_density

    def _check(self, position: Mapping[str, Any]) -> None:
        missing = [n for n in self.latents if n not in position]
        extra = [n for n in position if n not in self.latents]
        if missing or extra:
            shown = ", ".join(f"{n}[{', '.join(t.names)}]" for n, t in self.latents.items())
            what = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(extra)}"
            raise Diagnostic("argument", f"the position {what}", hint=f"the unconstrained latents are {shown}")
        for n, t in self.latents.items():
            shape = np.shape(position[n])
            if tuple(shape) != t.shape:
                raise Diagnostic("argument", f"'{n}' has shape {tuple(shape)}, but its type is {t}")

    # --- translating values ---

    def constrain(self, position: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """All latents in their own units and all deterministics, from unconstrained values."""
        self._check(position)
        return self._constrain.run({**self.bound.data, **{n: np.asarray(x) for n, x in position.items()}})

    @cached_property
    def _constrain(self) -> Executable:
        program = self.program("density")
        names = [n for n, _ in program.outputs if ":" not in n and n != "log_density"]
        return self.executable(keep(program, names))

    def unconstrain(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Unconstrained values of all latents from values in their own units."""
        wanted = [i.name for i in self._given.program.inputs if i.name not in self.bound.data]
        missing = [n for n in wanted if n not in values]
        if missing:
            raise Diagnostic("argument", f"no value for {', '.join(missing)}", hint=f"give {', '.join(wanted)}")
        made = self._given.run({**self.bound.data, **{n: np.asarray(values[n]) for n in wanted}})
        return {n.removeprefix("free:"): x for n, x in made.items()}

    @cached_property
    def _given(self) -> Executable:
        program = self.program("given")
        return self.executable(keep(program, [n for n, _ in program.outputs if n.startswith("free:")]))

    # --- inference ---

    def run(self, program: Any = None, *, seed: int = 0, **options: Any) -> Any:
        """Draws from the posterior: `posterior.run(ppl.nuts(chains=4, draws=1000), seed=0)`. See `ppl.infer.run`."""
        from .infer.run import run

        return run(self, program, seed=seed, **options)

    def draw_prior(self, seed: int = 0) -> dict[str, np.ndarray]:
        """One draw of all named quantities from the prior, and of what the model would observe, by name.

        What is observed need not be among the data: `ppl.compile(model, sizes=…)`.
        """
        from .infer.prior import PriorDraws
        from .limits import largest

        prior = PriorDraws(largest(self))
        drawn = next(prior.draw(seed))
        for note in prior.notes:
            warnings.warn(note, stacklevel=2)
        return drawn

    def suggest(self) -> Suggestion:
        """The program that `run()` takes where none is given, with the reasons; it can be printed."""
        from .infer.choose import suggest

        return suggest(self)


__all__ = ["CHAIN", "Posterior"]
