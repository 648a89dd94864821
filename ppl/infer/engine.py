"""The compiled block of sampler steps: the planned gradient and the sampler inside one SPMD program.

The host drives blocks; between them it stores draws and shows progress. All that a block reads and writes is a tree of
stored arrays whose layouts follow the plan: vectors in the latents' layouts, chain scalars along the chain axes.

Few latents that no mesh axis splits are packed into one vector (`ppl.infer.pack`): the algorithm then sees a space of
one site, and a step of it is a handful of fused loops. Where the options name the latents that move (`only`), the
algorithm's space and target have those alone (`ppl.infer.restrict`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import DictKey, tree_map_with_path

import backend_cuda as backend
from ir import counter
from ir.dims import CHAIN, TensorType
from ir.layout import Layout, block_shape
from ir.mesh import Mesh
from ir.passes.information import COTANGENT

from ..execute import Executable
from .fourier import Fourier, Spectra
from .information import Information, coordinate_space, no_information, parts_of
from .needs import Needs
from .options import Common
from .pack import Packing, packing
from .protocol import Block, Handover, Method, State, nowhere
from .restrict import Held, enter, leave
from .space import Site, Space, Vector


def space_of(gradient: Executable, only: Sequence[str] | None = None, spectra: Spectra | None = None) -> Space:
    """The vector space of a gradient program's latents, or of those named, laid out by its plan."""
    plan, program = gradient.plan, gradient.program
    sites, split, chain_axes, chains = [], set(), (), 1
    for i in program.inputs_of("latent"):
        if only is not None and i.name not in only:
            continue
        layout = plan.layouts[i.name]
        chain_axes, chains = layout.axes(CHAIN), block_shape(i.type, layout, plan.mesh)[i.type.names.index(CHAIN)]
        site = site_of(i.name, i.type, layout, plan.mesh)
        split |= {a for held in site.split for a in held}
        sites.append(site)
    reduce_axes = tuple(a for a in plan.mesh.names if a in split)
    spectra = spectra.among([s.name for s in sites]) if spectra is not None else None
    collectives = gradient.collectives
    return Space(tuple(sites), chains, reduce_axes, chain_axes, gradient.reproducible, spectra, collectives)


def site_of(name: str, t: TensorType, layout: Layout, mesh: Mesh) -> Site:
    """One chain of a quantity as it is cut."""
    shape = dict(zip(t.names, block_shape(t, layout, mesh), strict=True))
    rest = [d for d in t.names if d != CHAIN]
    axes = tuple(layout.axes(d) for d in rest)
    return Site(name, tuple(t[d] for d in rest), tuple(shape[d] for d in rest), axes, t.numpy)


@dataclass(frozen=True, eq=False)
class Engine:
    """An algorithm on a planned posterior: `start` gives its first state, `advance` runs one block of transitions.

    `collect` gives what is kept of a draw (see `ppl.infer.keep`): an `Executable` whose latents lie as the gradient's,
    or None for the unconstrained latents themselves; without `keep` nothing is. `length` counts a block's transitions.
    """

    gradient: Executable
    data: dict[str, jax.Array]
    options: Common
    length: int
    collect: Executable | None = None
    collect_data: dict[str, jax.Array] | None = None
    keep: bool = True
    metric: Executable | None = None
    """The products with the Fisher information, its latents laid out as the gradient's, for options that want them."""
    metric_data: dict[str, jax.Array] | None = None
    spectra: Spectra | None = None
    """The latents that have a planned transform, for options that want them."""

    @cached_property
    def packing(self) -> Packing:
        space = space_of(self.gradient, self.options.only, self.spectra)
        return packing(space) if self.options.packs else Packing(space)

    @property
    def space(self) -> Space:
        """The space that the algorithm works in."""
        return self.packing.space

    @property
    def latents(self) -> list[str]:
        return [i.name for i in self.gradient.program.inputs_of("latent")]

    def stored_types(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and dtype of every latent as it is stored, chains and padding included."""
        return {n: (x.shape, np.dtype(x.dtype)) for n, x in self._first.state.position.items()}

    def stand(self, position: dict[str, jax.Array], step: Any = None) -> State:
        """The state of chains at stored positions: log density and gradient there."""
        made = self.gradient.run({**self.data, **position}, stored=True, hasty=True)
        if step is None:
            with jax.enable_x64(True):
                step = self.place(np.zeros(made["log_density"].shape, np.uint32))
        return State(position, {n: made[f"grad:{n}"] for n in self.latents}, made["log_density"], step)

    def start(self, seed: int, begin: Handover) -> Any:
        """The algorithm's first state, as stored arrays."""
        with jax.enable_x64(True):
            return self._jitted("start", self._start, (P(), P()), self._specs(begin))(_words(seed), begin)

    def advance(self, seed: int, state: Any, schedule: Any, limit: int) -> Block:
        """At most `limit` transitions of every chain; the schedule has the block's length. The state is used up."""
        with jax.enable_x64(True):
            flags = jax.tree.map(np.asarray, schedule)
            return self._compiled(state)(_words(seed), state, flags, np.int32(limit), *self.inputs())

    def handover(self, state: Any) -> Handover:
        """What the next stage starts from, as stored arrays in the latents' layouts."""
        with jax.enable_x64(True):
            left = self._jitted("leave", self._leave, self._specs(state))(state)
        if self.options.only is None:
            return left
        # The gradient that the algorithm knows is of the latents that moved: the next stage needs that of all.
        return left._replace(state=self.stand(left.state.position, left.state.step))

    def measure(self, name: str, f: Any, *trees: Any) -> Any:
        """`f` of the blocks of trees of stored arrays, compiled once under its name: numbers of chains, in a tuple."""
        with jax.enable_x64(True):
            return self._jitted(name, f, *(self._specs(t) for t in trees))(*trees)

    def lowered(self) -> Any:
        """A block lowered by JAX for abstract arguments: `.as_text()` is StableHLO, `.compile()` XLA's."""
        with jax.enable_x64(True):
            schedule = self.options.schedule().part(0, self.length)
            state = self._abstract_state
            return self._compiled(state).lower(_words(0), state, schedule, np.int32(1), *self.inputs())

    def _method(self, target: Any, information: Information | None = None) -> Method:
        if not self.options.informed:
            return self.options.method(self.space, target)
        return self.options.method_informed(self.space, target, information or no_information())

    def _start(self, words: Any, begin: Handover) -> Any:
        begin, held = enter(self._of_all(begin), self.options.only)
        return Held(self._method(nowhere).start(words, self.packing.pack_tree(begin)), held)

    def _leave(self, state: Held) -> Handover:
        inner = self.packing.unpack_tree(self._method(nowhere).handover(state.inner))
        return self._of_all(leave(inner, state.held))

    def _of_all(self, handover: Handover) -> Handover:
        """With a metric of plane waves on the space of all latents as they lie here."""
        if not isinstance(handover.metric, Fourier):
            return handover
        return handover._replace(metric=handover.metric.on(space_of(self.gradient, None, self.spectra)))

    @cached_property
    def _first(self) -> Handover:
        """A handover of stored arrays, abstract."""
        mesh, plan = self.gradient.plan.mesh, self.gradient.plan
        vector = {
            i.name: jax.ShapeDtypeStruct(backend.stored_shape(i.type, plan.layouts[i.name], mesh), i.type.numpy)
            for i in self.gradient.program.inputs_of("latent")
        }
        chains = next(iter(vector.values())).shape[0]
        scalar = lambda t: jax.ShapeDtypeStruct((chains,), t)  # noqa: E731
        return Handover(State(vector, vector, scalar("float64"), scalar("uint32")))

    @cached_property
    def _abstract_state(self) -> Any:
        return jax.eval_shape(self._spread(self._start, (P(), P()), self._specs(self._first)), _words(0), self._first)

    def _spread(self, f: Any, *in_specs: Any) -> Any:
        """`f` of blocks as a function of stored arrays; its outputs are laid out by their places (see `Method`)."""
        mesh, devices = self.gradient.plan.mesh, self.gradient.devices
        if mesh.devices == 1:
            return f

        def block_of(leaf: Any, spec: P) -> jax.ShapeDtypeStruct:
            cuts = [mesh.size(axes) if axes else 1 for axes in (*spec, *(None,) * (len(leaf.shape) - len(spec)))]
            return jax.ShapeDtypeStruct(tuple(n // k for n, k in zip(leaf.shape, cuts, strict=True)), leaf.dtype)

        def whole(*args: Any) -> Any:
            blocks = [jax.tree.map(block_of, a, s) for a, s in zip(args, in_specs, strict=True)]
            made = jax.make_jaxpr(f, axis_env=list(mesh.axes), return_shape=True)(*blocks)[1]
            return backend.spmd(f, mesh, devices, in_specs, self._specs(made))(*args)

        return whole

    def _jitted(self, name: str, f: Any, *in_specs: Any) -> Any:
        key = (name, jax.tree.structure(in_specs, is_leaf=lambda s: isinstance(s, P)))
        if key not in self._made:
            self._made[key] = jax.jit(self._spread(f, *in_specs))
        return self._made[key]

    @cached_property
    def _made(self) -> dict[Any, Any]:
        return {}

    def place(self, tree: Any) -> Any:
        """Arrays with the shardings that a block returns them with: otherwise the second block is compiled anew."""
        specs, devices = self._specs(tree), self.gradient.devices
        placed = jax.tree.map(lambda s: NamedSharding(devices, s), specs, is_leaf=lambda s: isinstance(s, P))
        return jax.device_put(tree, placed)

    def inputs(self) -> list[jax.Array]:
        """What a block takes beside the state: the data of the gradient, then those of what is kept."""
        held = [self.data[i.name] for i in self.gradient.program.inputs if i.role == "data"]
        if self.collect is not None:
            held += [(self.collect_data or {})[i.name] for i in self.collect.program.inputs if i.role == "data"]
        if self.metric is not None:
            held += [(self.metric_data or {})[i.name] for i in self.metric.program.inputs if i.role == "data"]
        return held

    def _body(self, words: Any, state: Held, schedule: Any, limit: Any, *extra: jax.Array) -> Block:
        inputs, held = self.gradient.program.inputs, state.held.position
        left = iter(extra)
        mine, theirs, told = ([next(left) for _ in range(n)] for n in self._counts())
        watch = Needs(self.gradient)
        needs = watch.place(self.space.chains)

        def target(position: Vector) -> tuple[jax.Array, Vector]:
            moved = self.packing.unpack(position)
            position, data = moved | held, iter(mine)
            made = self.gradient.block(*(position[i.name] if i.role == "latent" else next(data) for i in inputs))
            watch.write(needs, made)
            return made["log_density"], self.packing.pack({n: made[f"grad:{n}"] for n in moved})

        def collect(position: Vector) -> dict[str, jax.Array]:
            if not self.keep:
                return {}
            position = self.packing.unpack(position) | held
            if self.collect is None:
                return position
            data = iter(theirs)
            wanted = self.collect.program.inputs
            return self.collect.block(*(position[i.name] if i.role == "latent" else next(data) for i in wanted))

        def parts(position: Vector, w: Vector) -> tuple[Vector, Vector, Vector]:
            assert self.metric is not None
            moved, data = self.packing.unpack(position), iter(told)
            given = moved | held | {COTANGENT + n: x for n, x in w.items()}
            inputs = self.metric.program.inputs
            made = self.metric.block(*(next(data) if i.role == "data" else given[i.name] for i in inputs))
            value, root, gradient = parts_of(made)
            return value, root, self.packing.pack({n: gradient[n] for n in moved})

        information = None
        if self.metric is not None:
            information = Information(coordinate_space(self.metric, self.space, site_of), parts)
        with backend.apart(self.gradient.devices, self.space.chain_axes):
            block = self._method(target, information).advance(words, state.inner, schedule, limit, collect)
        return block._replace(state=Held(block.state, state.held), needs=watch.read(needs))

    def _counts(self) -> list[int]:
        """How many data inputs the gradient's, the collecting and the metric program have."""
        programs = (self.gradient, self.collect, self.metric)
        return [len(e.program.inputs_of("data")) if e is not None else 0 for e in programs]

    @property
    def _options(self) -> dict[str, Any]:
        quick = backend.quick_options(self.gradient.devices) if self.packing.parts else {}
        return {**self.gradient.options, **quick}

    def _compiled(self, state: Any) -> Any:
        """The block's program for states of this structure: that of the metric depends on who handed it over."""
        key = ("block", jax.tree.structure(state))
        if key not in self._made:
            self._made[key] = self._compile(state)
        return self._made[key]

    def _compile(self, state: Any) -> Any:
        mesh, devices = self.gradient.plan.mesh, self.gradient.devices
        if mesh.devices == 1:
            return jax.jit(self._body, donate_argnums=(1,), compiler_options=self._options)
        state = self._specs(state)
        schedule = jax.tree.map(lambda _: P(), self.options.schedule().part(0, 1))
        specs = (
            (P(), P()), state, schedule, P(),
            *(s for i, s in zip(self.gradient.program.inputs, self.gradient.in_specs, strict=True) if i.role == "data"),
        )  # fmt: skip
        if self.collect is not None:
            held = zip(self.collect.program.inputs, self.collect.in_specs, strict=True)
            specs += tuple(s for i, s in held if i.role == "data")
        if self.metric is not None:
            held = zip(self.metric.program.inputs, self.metric.in_specs, strict=True)
            specs += tuple(s for i, s in held if i.role == "data")
        chain = self._chain_spec()
        draws = {n: P(s[0] if len(s) else None, None, *s[1:]) for n, s in self.draw_specs().items()}
        info = self.options.info(*(chain for _ in self.options.info._fields))
        needs = chain if Needs(self.gradient).names else ()
        body = self._body if self.options.forward else self.gradient.collectives.chained(self._body, loops=True)
        whole = backend.spmd(body, mesh, devices, specs, Block(state, draws, info, chain, needs))
        return jax.jit(whole, donate_argnums=(1,), compiler_options=self._options)

    def draw_specs(self) -> dict[str, P]:
        """How each kept quantity of one draw is split, chain first."""
        if not self.keep:
            return {}
        if self.collect is not None:
            return self.collect.out_specs
        return {
            i.name: s
            for i, s in zip(self.gradient.program.inputs, self.gradient.in_specs, strict=True)
            if i.role == "latent"
        }

    def _chain_spec(self) -> P:
        axes = self.space.chain_axes
        return P(axes if len(axes) > 1 else axes[0]) if axes else P(None)

    def _specs(self, tree: Any) -> Any:
        """Partition specs of a tree by the rule that `Method` states."""
        program = self.gradient.program
        vectors = {i.name: (i.type, s) for i, s in zip(program.inputs, self.gradient.in_specs, strict=True)}
        chain = self._chain_spec()

        def one(path: Any, leaf: Any) -> P:
            names = [k.key for k in path if isinstance(k, DictKey)]
            if names and names[-1] in vectors:
                kind, spec = vectors[names[-1]]
                further = len(leaf.shape) - len(kind.shape)
                return P(spec[0] if len(spec) else None, *(None,) * further, *spec[1:])
            return chain if len(leaf.shape) else P()

        return tree_map_with_path(one, tree)


def _words(seed: int) -> tuple[np.uint32, np.uint32]:
    return counter.seed_key(seed)


__all__ = ["Engine", "site_of", "space_of"]
