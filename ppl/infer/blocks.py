"""Options of Gibbs sampling: which latents form a block, and which sampler moves it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import jax
import numpy as np

from .gibbs import OF_BLOCKS, Gibbs, Part, Sweeps, info_type, part_of
from .options import STATISTICS, Common
from .protocol import Target
from .space import Space

_SHARED = tuple(f.name for f in fields(Common) if f.name != "given")


@dataclass(frozen=True, kw_only=True)
class GibbsOptions(Common):
    """Gibbs sampling over blocks; a draw is a sweep.

    blocks: {latents: sampler}, in the order of the sweep; latents are a name or a tuple of names. rest: the sampler of
    all latents that no block names, together, last in the sweep. repeats: transitions of a block in a sweep, a number
    for all or {latent: number} for the blocks of some.
    """

    blocks: Any = ()
    rest: Common | None = None
    repeats: Any = 1
    name: ClassVar[str] = "gibbs"
    packs: ClassVar[bool] = False
    in_blocks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "blocks", self._checked_blocks())
        object.__setattr__(self, "repeats", self._checked_repeats())
        if not self.blocks and self.rest is None:
            raise self._wrong("there is no block", 'gibbs({("mu", "tau"): nuts(), "theta": hmc()}) or gibbs(mu=nuts())')
        for names, inner in (*self.blocks, *([(("rest",), self.rest)] if self.rest is not None else [])):
            self._check_inner(", ".join(names), inner)
        counts = Counter(n for names, _ in self.blocks for n in names)
        twice = [n for n, k in counts.items() if k > 1]
        if twice:
            raise self._wrong(f"'{twice[0]}' is in two blocks", "every latent belongs to one block")

    def _checked_blocks(self) -> tuple[tuple[tuple[str, ...], Any], ...]:
        given = self.blocks.items() if isinstance(self.blocks, Mapping) else self.blocks
        found = []
        for key, inner in given:
            names = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, Iterable) else ()
            if not names or not all(isinstance(n, str) for n in names):
                raise self._wrong(f"a block is named by its latents, not {key!r}", '"theta", or ("mu", "tau")')
            found.append((names, inner))
        return tuple(found)

    def _checked_repeats(self) -> int | tuple[tuple[str, int], ...]:
        hint = "repeats = 2 for all blocks, or {latent: number}"
        if isinstance(self.repeats, int):
            self._check_integer("repeats", 1)
            return self.repeats
        try:
            found = tuple(dict(self.repeats).items())
        except (TypeError, ValueError):
            raise self._wrong(f"repeats must be a number or one per latent, not {self.repeats!r}", hint) from None
        for name, number in found:
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise self._wrong(f"repeats of '{name}' must be a whole number from 1, not {number!r}", hint)
        return found

    def _check_inner(self, names: str, inner: Any) -> None:
        if not isinstance(inner, Common):
            raise self._wrong(f"the block of {names} needs a sampler, not {inner!r}", "for example nuts()")
        if not inner.in_blocks or inner.stages() != (inner,):
            raise self._wrong(f"{inner.name} cannot move the block of {names}", "nuts(), hmc(), slice() can")
        plain = {f.name: f.default for f in fields(inner)}
        for option in _SHARED:
            if getattr(inner, option) != plain[option]:
                raise self._wrong(
                    f"'{option}' of the block of {names} is that of the whole", f"gibbs(..., {option} = ...)"
                )

    def method(self, space: Space, target: Target) -> Gibbs:
        return Gibbs(space, target, tuple(self._parts(space)), self.thin)

    def _parts(self, space: Space) -> Iterable[Part]:
        known = [s.name for s in space.sites]
        repeats = dict(self.repeats) if isinstance(self.repeats, tuple) else {}
        for name in (*(n for names, _ in self.blocks for n in names), *repeats):
            if name not in known:
                near = difflib.get_close_matches(
                    name, [*known, f"{name}_raw"] if f"{name}_raw" in known else known, n=1
                )
                hint = f"did you mean '{near[0]}'?" if near else f"the latents are {', '.join(known)}"
                raise self._wrong(f"there is no latent '{name}'", hint)
        named = {n for names, _ in self.blocks for n in names}
        left = tuple(n for n in known if n not in named)
        if left and self.rest is None:
            raise self._wrong(f"no block has {', '.join(left)}", "rest = nuts() samples all that is not named")
        if self.rest is not None and not left:
            raise self._wrong("the blocks name all latents: nothing is left for 'rest'", "leave rest out")
        for number, (names, inner) in enumerate(self._samplers(left)):
            sized = self._inner(number, inner)
            yield part_of(space, names, sized.method, self._repeats(names))

    def _samplers(self, left: tuple[str, ...]) -> list[tuple[tuple[str, ...], Common]]:
        return [*self.blocks, *([(left, self.rest)] if self.rest is not None else [])]

    def _repeats(self, names: tuple[str, ...]) -> int:
        if isinstance(self.repeats, int):
            return self.repeats
        return max((k for n, k in self.repeats if n in names), default=1)

    def _inner(self, number: int, inner: Common) -> Common:
        """A block's sampler with as many transitions as it makes in all sweeps."""
        names = self.blocks[number][0] if number < len(self.blocks) else self._rest_names()
        k = self._repeats(names)
        return replace(inner, chains=self.chains, warmup=self.warmup * k, draws=self.draws * k, thin=1)

    def _rest_names(self) -> tuple[str, ...]:
        """Names in `repeats` that no block has: they can only be of the rest."""
        named = {n for names, _ in self.blocks for n in names}
        return tuple(n for n, _ in self.repeats if n not in named) if isinstance(self.repeats, tuple) else ()

    @property
    def info(self) -> Any:  # type: ignore[override]
        return info_type(len(self._samplers(())))

    @property
    def transforms(self) -> bool:
        return any(inner.transforms for _, inner in self._samplers(()))

    def copies(self) -> float:
        """Those of the hungriest block, as if all latents were its own, and the gradient of the others."""
        return max(inner.copies() for _, inner in self._samplers(())) + 1

    def schedule(self) -> Sweeps:
        found = []
        for number, (_, inner) in enumerate(self._samplers(())):
            sized = self._inner(number, inner)
            found.append(jax.tree.map(lambda x: np.asarray(x).reshape(self.warmup + self.draws, -1), sized.schedule()))
        return Sweeps(tuple(found))

    def statistics(self, info: Any) -> dict[str, np.ndarray]:
        told = super().statistics(info)
        for number, (names, inner) in enumerate(self._samplers(("rest",))):
            for field in OF_BLOCKS:
                if field in inner.info._fields:
                    told[f"{STATISTICS.get(field, (field,))[0]}_{names[0]}"] = np.asarray(
                        getattr(info, f"{field}_{number}")
                    )
        return told


def with_blocks(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of gibbs with samplers by the names of latents moved into `blocks`."""
    named = {n: v for n, v in options.items() if isinstance(v, Common) and n != "rest"}
    plain = {n: v for n, v in options.items() if n not in named}
    if named:
        blocks = plain.get("blocks", {})
        plain["blocks"] = [*(blocks.items() if isinstance(blocks, Mapping) else blocks), *named.items()]
    return plain
