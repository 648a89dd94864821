"""Noise: draws whose every element is a pure function of the key words, the site and its own global index.

The first operand of each op is the key, u32[word=2], or u32[chain, word=2] with a key per chain. Positions count in
row-major order over the op's own `shape`, a chain dim excluded: a block draws its own part of what one device would
draw for the whole, and a chain draws the same whatever the number of chains. There is no gradient through a draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import counter, counter_rejection
from ..dims import CHAIN, DTYPES, Dim, TensorType, union
from ..errors import Diagnostic
from ..op import Op, Whole
from ..place import Place, align

WORD = "word"
KEY = TensorType((Dim(WORD, 2),), "u32")


@dataclass(frozen=True)
class Noise(Op):
    """The interface of draws: `site` and `stream` make the noise of one quantity, and of each part of it, its own."""

    shape: tuple[Dim, ...]
    site: str
    stream: int = 0
    dtype: str = "f32"

    params: ClassVar[int] = 0
    counts: ClassVar[bool] = False
    """Whether the draw is a whole number; as an i32 it is -1 where a parameter is invalid, otherwise NaN."""
    cost: ClassVar[float] = 150.0

    def draw(self, key: counter.Key, index: counter.Index, *params: Any) -> jax.Array:
        raise NotImplementedError

    def result(self, key: TensorType, *params: TensorType):
        if key.dtype != "u32" or WORD not in key or key[WORD] != 2:
            raise Diagnostic("type", f"{self.name} takes its key as its first operand, u32[word=2], but got {key}")
        if len(params) != self.params:
            raise Diagnostic("type", f"{self.name} takes {self.params} parameter(s), but got {len(params)}")
        allowed = ("f32", "f64", "i32") if self.counts else ("f32", "f64")
        if self.dtype not in allowed:
            raise Diagnostic("type", f"{self.name} draws {' or '.join(allowed)}, not {self.dtype}")
        own = {d.name for d in self.shape}
        extra = union(key.without([WORD]), *(p.without(own) for p in params))
        if clash := own & set(key.names):
            raise Diagnostic("type", f"{self.name} draws along '{clash.pop()}', which the key has")
        for p in params:
            if p.dtype not in ("f32", "f64"):
                raise Diagnostic("type", f"a parameter of {self.name} must be real, but it is {p.dtype}")
            for d in p.dims:
                if d.name in own and d not in self.shape:
                    raise Diagnostic("type", f"{self.name} draws {self.size_of(d.name)}, but a parameter has {d}")
        if len({p.dtype for p in params}) > 1:
            raise Diagnostic("type", f"the parameters of {self.name} must have one dtype")
        return TensorType((*extra, *self.shape), self.dtype)

    def size_of(self, dim: str) -> Dim:
        return next(d for d in self.shape if d.name == dim)

    def roles(self, *operands):
        return {WORD: Whole()}

    def flops(self, *operands):
        return self.cost * self.result(*operands).size

    def local(self, place: Place, key, *params):
        wanted = place.results[0].names
        lead = [d for d in wanted if d not in {d.name for d in self.shape}]
        own = [d.name for d in self.shape]
        words = align(key, place.operands[0].names, (WORD, *lead))
        words = counter.derive((words[0], words[1]), counter.site_hash(self.site), self.stream)
        index = counter.global_index(
            [place.extent(d) for d in own], [place.offset(d) for d in own], [d.size for d in self.shape]
        )
        aligned = []
        for p, t in zip(params, place.operands[1:], strict=True):  # padding gets a harmless parameter: loops end early
            p = place.select(p, t.names, 1)
            aligned.append(align(p, t.names, wanted))
        drawn = self.draw(counter.expand(words, len(own)), index, *aligned)
        if self.dtype == "i32":  # integers have no NaN to say that a parameter is invalid
            drawn = jnp.where(jnp.isnan(drawn), jnp.asarray(-1, drawn.dtype), drawn)
        shape = tuple(place.extent(d) for d in wanted)
        return jnp.broadcast_to(drawn, shape).astype(DTYPES[self.dtype][0])

    def vjp(self, cotangent, result, *operands):
        return tuple(None for _ in operands)

    @classmethod
    def examples(cls):
        if "name" not in cls.__dict__:
            return []
        x, y, chain = Dim("x", 9), Dim("y", 10), Dim("chain", 3)
        keys = TensorType((chain, *KEY.dims), "u32")
        dtype = "i32" if cls.counts else "f64"
        params = (TensorType((y,), "f64"), TensorType((), "f64"))[: cls.params]
        found = [(cls((x, y), "a", 0, dtype), (KEY, *params)), (cls((y,), "b", 1, "f64"), (keys, *params))]
        return found[:1] if cls.params else found  # a rejection loop is slow to compile


@dataclass(frozen=True)
class RandomUniform(Noise):
    """Uniform on the open interval (0, 1)."""

    name: ClassVar[str] = "random_uniform"

    def draw(self, key, index):
        return counter.uniform(key, index, DTYPES[self.dtype][0])


@dataclass(frozen=True)
class RandomNormal(Noise):
    """Standard normal."""

    name: ClassVar[str] = "random_normal"

    def draw(self, key, index):
        return counter.normal(key, index, DTYPES[self.dtype][0])


@dataclass(frozen=True)
class RandomExponential(Noise):
    """Exponential of rate 1."""

    name: ClassVar[str] = "random_exponential"

    def draw(self, key, index):
        return counter.exponential(key, index, DTYPES[self.dtype][0])


@dataclass(frozen=True)
class RandomGamma(Noise):
    """Gamma of a concentration, with rate 1; its logarithm where `log`, which small concentrations need."""

    log: bool = False
    name: ClassVar[str] = "random_gamma"
    params: ClassVar[int] = 1
    cost: ClassVar[float] = 600.0

    def draw(self, key, index, concentration):
        return counter_rejection.gamma(key, index, concentration, log=self.log)

    @classmethod
    def examples(cls):
        y = Dim("y", 10)
        log = (cls((y,), "c", 0, "f64", True), (KEY, TensorType((y,), "f64")))
        return [*super().examples(), log]


@dataclass(frozen=True)
class RandomPoisson(Noise):
    """Poisson of a rate."""

    name: ClassVar[str] = "random_poisson"
    params: ClassVar[int] = 1
    counts: ClassVar[bool] = True
    cost: ClassVar[float] = 2000.0

    def draw(self, key, index, rate):
        return counter_rejection.poisson(key, index, rate)


@dataclass(frozen=True)
class RandomBinomial(Noise):
    """Binomial of a number of trials (as real numbers) and a probability."""

    name: ClassVar[str] = "random_binomial"
    params: ClassVar[int] = 2
    counts: ClassVar[bool] = True
    cost: ClassVar[float] = 2000.0

    def draw(self, key, index, total, probability):
        return counter_rejection.binomial(key, index, total, probability)


@dataclass(frozen=True)
class StepKeys(Op):
    """A key for each step along `dim`: u32[word=2] to u32[dim, word=2], derived from the key and the position."""

    dim: Dim
    name: ClassVar[str] = "step_keys"

    def result(self, key):
        if key.dtype != "u32" or WORD not in key or key[WORD] != 2:
            raise Diagnostic("type", f"{self.name} takes a key, u32[word=2], but got {key}")
        if self.dim.name in key:
            raise Diagnostic("type", f"{self.name} makes keys along '{self.dim.name}', which the key has")
        lead = 1 if key.names[:1] == (CHAIN,) else 0
        return TensorType((*key.dims[:lead], self.dim, *key.dims[lead:]), "u32")

    def roles(self, key):
        return {WORD: Whole()}

    def flops(self, key):
        return 2 * Noise.cost * self.result(key).size

    def local(self, place, key):
        wanted = place.results[0].names
        lead = [d for d in wanted if d != WORD]
        words = align(key, place.operands[0].names, (WORD, *lead))
        along = [-1 if d == self.dim.name else 1 for d in lead]
        position = place.index(self.dim.name).astype(jnp.uint32).reshape(along)
        made = counter.derive((words[0], words[1]), counter.site_hash(f"step {self.dim.name}"), position)
        return jnp.moveaxis(jnp.stack(made), 0, wanted.index(WORD))

    def vjp(self, cotangent, result, key):
        return (None,)

    @classmethod
    def examples(cls):
        keys = TensorType((Dim("chain", 3), *KEY.dims), "u32")
        return [(cls(Dim("x", 9)), (KEY,)), (cls(Dim("y", 10)), (keys,))]
