"""The Fisher information of a model on vectors: products with J^T I J and its factors, and noise of that covariance.

J is the derivative of the sites' coordinates by the latents, I their information (see `ir.passes.information`, whose
program runs on blocks in here). Coordinates are a vector space of their own, in the layouts of the plan; nothing of it
is gathered, and the collectives are the model's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax

from ir.counter import Key
from ir.dims import CHAIN
from ir.errors import InternalError
from ir.layout import block_shape
from ir.passes.information import COTANGENT

from ..execute import Executable
from .curvature import forward
from .space import Site, Space, Vector

PRODUCT = 2
"""Gradients that one product with J^T I J counts as."""

Parts = Callable[[Vector, Vector], tuple[Vector, Vector, Vector]]
"""(position, w) -> (the coordinates, sqrt(I) w, J^T w); w and the first two are vectors of the coordinates' space."""


@dataclass(frozen=True)
class Information:
    """Products at a position; every method may hold the model's own collectives."""

    space: Space
    """That of the coordinates."""
    parts: Parts

    def root(self, position: Vector, w: Vector) -> Vector:
        """sqrt(I) w."""
        return self.parts(position, w)[1]

    def backward(self, position: Vector, w: Vector) -> Vector:
        """J^T w."""
        return self.parts(position, w)[2]

    def product(self, position: Vector, v: Vector) -> Vector:
        """J^T I J v, zero on padding."""
        along = forward(lambda x: self.parts(x, self.space.zeros())[0], position, v, "mgvi")
        return self.backward(position, self.root(position, self.root(position, along)))

    def noise(self, key: Key, purpose: jax.Array | int, position: Vector) -> Vector:
        """J^T sqrt(I) n of white noise n: its covariance is J^T I J."""
        return self.backward(position, self.root(position, self.space.normal(key, purpose)))


def no_information() -> Information:
    """What is never to be evaluated: algorithms start, hand over and state their copies without one."""

    def parts(position: Vector, w: Vector) -> tuple[Vector, Vector, Vector]:
        raise InternalError("an algorithm asked for the Fisher information outside a block")

    return Information(Space(()), parts)


def coordinate_space(metric: Executable, latents: Space, site_of: Callable[..., Site]) -> Space:
    """The space of a metric program's coordinates, over the same chains as the latents'."""
    plan, sites = metric.plan, []
    for i in metric.program.inputs_of("argument"):
        layout = plan.layouts[i.name]
        chains = block_shape(i.type, layout, plan.mesh)[i.type.names.index(CHAIN)]
        if (layout.axes(CHAIN), chains) != (latents.chain_axes, latents.chains):
            raise InternalError(f"the chains of '{i.name}' lie otherwise than those of the latents")
        sites.append(site_of(i.name.removeprefix(COTANGENT), i.type, layout, plan.mesh))
    split = {a for site in sites for axes in site.split for a in axes}
    reduce_axes = tuple(a for a in plan.mesh.names if a in split)
    chains, axes, collectives = latents.chains, latents.chain_axes, latents.collectives
    return Space(tuple(sites), chains, reduce_axes, axes, collectives=collectives)


def parts_of(made: dict[str, jax.Array]) -> tuple[Vector, Vector, Vector]:
    """A metric program's outputs as vectors: coordinates, sqrt(I) w, J^T w."""
    found: dict[str, Vector] = {"coordinate": {}, "root": {}, "grad": {}}
    for output, x in made.items():
        kind, _, name = output.partition(":")
        found[kind][name] = x
    return found["coordinate"], found["root"], found["grad"]
