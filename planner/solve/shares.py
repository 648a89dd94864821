"""How the uses of a star hand on their shares of its prices: for all blocks of one shape at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .pairs import Block


class Alike:
    """Blocks of one shape as arrays by [block, use, row, column]; what changes in them, the blocks have as views."""

    def __init__(self, blocks: list[Block]):
        first = blocks[0]
        self.has, self.price = np.stack([b.has for b in blocks]), np.stack([b.price for b in blocks])
        self.charge, self.share = np.stack([b.charge for b in blocks]), np.stack([b.share for b in blocks])
        self.to_source, self.to_use = np.stack([b.to_source for b in blocks]), np.stack([b.to_use for b in blocks])
        for i, b in enumerate(blocks):
            b.charge, b.share, b.to_source, b.to_use = self.charge[i], self.share[i], self.to_source[i], self.to_use[i]
        self.member = None if first.plain else first.member
        self.single = slice(None) if first.plain else [first.columns.index((w,)) for w in first.layouts]

    def reshare(self) -> None:
        """Hands the shares that a pair has in excess to the pairs that are tight there."""
        self._pull_to_source()
        self._pull_to_uses()
        self._pull_to_source()
        reduced = self.charge - self.to_source[..., None] - self.to_use[..., None, :]
        has = self.has[..., None, self.single]
        excess = np.minimum(np.maximum(reduced[..., self.single], 0.0), self.share)
        tight = (excess <= 1e-9 * self.price[:, None]) & has
        self.share -= excess
        left = np.maximum(self.price - np.add.reduce(self.share, axis=1), 0.0)
        needy = np.where(np.logical_or.reduce(tight, axis=1)[:, None], tight, has)
        more = left / np.maximum(np.add.reduce(needy, axis=1), 1)
        self.share += np.where(needy, more[:, None], 0.0)
        charge = self.share if self.member is None else self.share @ self.member
        np.copyto(self.charge, charge, where=self.has[..., None, :])
        self._pull_to_uses()

    def _pull_to_source(self) -> None:
        np.minimum.reduce(self.charge - self.to_use[..., None, :], axis=-1, out=self.to_source)

    def _pull_to_uses(self) -> None:
        np.minimum.reduce(self.charge - self.to_source[..., None], axis=-2, out=self.to_use)
        self.to_use[~self.has] = 0.0


def alike(blocks: Iterable[Block]) -> list[Alike]:
    """The blocks of several uses that never want two copies at once, by shape: only these hand on shares."""
    found: dict[tuple[int, ...], list[Block]] = {}
    for block in blocks:
        if len(block.pairs) > 1 and block.simple:
            key = block.charge.shape if block.plain else (id(block),)
            found.setdefault(key, []).append(block)
    return [Alike(several) for several in found.values()]
