"""The draws of a run on disk: `draws.zarr`, appended while the run goes on and readable all the while.

One Zarr group per ArviZ group, one array per quantity with its dims named, so that

    xarray.open_zarr("run/draws.zarr", group="posterior")

works at any moment. What makes that safe: a block is written first, and only then does the consolidated metadata at
the store's root (one small file, replaced atomically) say that it is there. A reader thus sees all quantities with the
same number of draws, and never a draw that is not written; after a kill, `resume` cuts back what no reader ever saw.
"""

from __future__ import annotations

import contextlib
import errno
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ir.errors import Diagnostic, InternalError

from .datum import native
from .draws import GROUPS, STATIC, Draws, Variable

STORE = "draws.zarr"
PRIOR = "prior.zarr"
"""Draws of the prior, made after the others, in a store of their own beside them; `open_run` gives both."""
CHUNK_BYTES = 4 * 2**20
"""Aim for a chunk's size before compression: small enough to read one, large enough that few files are made."""
CHUNK_DRAWS = 4096
"""The most draws in a chunk: a block that ends inside a chunk rewrites it, which for scalars must stay cheap."""


@dataclass(frozen=True)
class Spec:
    """What the store keeps of one quantity: dims and shape of a single draw, and a NumPy dtype name."""

    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: str = "float64"


class DrawsWriter:
    """Writes one run's draws, block by block.

    with DrawsWriter(folder / "draws.zarr", {"posterior": {"mu": Spec()}}, chains=4) as writer:
        writer.append(posterior={"mu": block})         # [chain, draws of the block]
        writer.write(observed_data={"y": y})           # once, without chain and draw

    `schema` is group → name → `Spec`; groups in `STATIC` are described too. `draws` (how many are expected) only sizes
    chunks. With `resume=n` an existing store is opened instead and every sampled group cut back to `n` draws, or, with
    a mapping, to the number given for each group. Raises `Diagnostic("run")` where the disk is full or may not be
    written.
    """

    def __init__(
        self,
        path: str | Path,
        schema: Mapping[str, Mapping[str, Spec]],
        chains: int,
        *,
        draws: int | None = None,
        coords: Mapping[str, np.ndarray] | None = None,
        attrs: Mapping[str, Any] | None = None,
        resume: int | Mapping[str, int] | None = None,
    ) -> None:
        self.path, self.schema, self.chains = Path(path), schema, chains
        unknown = set(schema) - set(GROUPS)
        if unknown:
            raise InternalError(f"no such group of draws: {', '.join(sorted(unknown))}")
        with _told_as_run_error(self.path), _quiet():
            if resume is None:
                self._create(coords or {}, attrs or {}, draws)
            else:
                self._reopen(resume)

    def _create(self, coords: Mapping[str, np.ndarray], attrs: Mapping[str, Any], draws: int | None) -> None:
        import zarr

        if self.path.exists():
            raise Diagnostic(
                "run",
                "there are draws already",
                where=str(self.path),
                hint="give another folder with --out",
            )
        self._root = zarr.open_group(self.path, mode="w-", zarr_format=3, attributes=json_safe(attrs))
        for group, specs in self.schema.items():
            # Zarr lists members in no order; readers show quantities as the model has them.
            node = self._root.create_group(group, attributes={"order": list(specs)})
            sampled = group not in STATIC
            chains = 1 if group.startswith("prior") else self.chains
            for name, spec in specs.items():
                lead, names = ((chains, 0), ("chain", "draw")) if sampled else ((), ())
                chunks = (
                    chunk_shape(spec, chains, draws) if sampled else _fit(spec.shape, np.dtype(spec.dtype).itemsize)
                )
                node.create_array(
                    name,
                    shape=(*lead, *spec.shape),
                    chunks=chunks,
                    dtype=spec.dtype,
                    dimension_names=(*names, *spec.dims),
                )
            if sampled:
                _labels(node, "chain", np.arange(chains))
                node.create_array("draw", shape=(0,), chunks=(CHUNK_DRAWS,), dtype="int64", dimension_names=("draw",))
            used = {dim: n for spec in specs.values() for dim, n in zip(spec.dims, spec.shape, strict=True)}
            for dim, labels in coords.items():
                if used.get(dim) == len(labels) and dim not in specs:
                    _labels(node, dim, np.asarray(labels))
        self._publish()

    def _reopen(self, resume: int | Mapping[str, int]) -> None:
        import zarr

        if not self.path.exists():
            raise Diagnostic("run", "there are no draws to go on from", where=str(self.path), hint="start a new run")
        self._root = zarr.open_group(self.path, mode="r+", use_consolidated=False)
        for group in self.schema:
            node = self._root[group]
            if group in STATIC:
                continue
            keep = resume if isinstance(resume, int) else resume.get(group, 0)
            for name in (*self.schema[group], "draw"):
                self._cut(node[name], keep, f"{group}/{name}")
        self._publish()

    def _cut(self, array: Any, keep: int, name: str) -> None:
        axis = 0 if array.ndim == 1 else 1
        if array.shape[axis] < keep:
            raise Diagnostic(
                "run",
                f"'{name}' has {array.shape[axis]} draws, and the checkpoint is at draw {keep}",
                where=str(self.path),
                hint="the store is older than the checkpoint, or damaged: start a new run",
            )
        array.resize(tuple(keep if i == axis else n for i, n in enumerate(array.shape)))

    def append(self, **groups: Mapping[str, np.ndarray]) -> None:
        """Append one block to each group given: every quantity of its schema, `[chain, draws of the block, *dims]`."""
        with _told_as_run_error(self.path), _quiet():
            for group, block in groups.items():
                self._append(group, block)
            self._publish()

    def _append(self, group: str, block: Mapping[str, np.ndarray]) -> None:
        specs = self.schema.get(group)
        if specs is None or set(block) != set(specs):
            raise InternalError(
                f"a block for '{group}' must have exactly {sorted(specs or ())}, and has {sorted(block)}"
            )
        node = self._root[group]
        start = node["draw"].shape[0]
        lengths = {np.shape(values)[1] for values in block.values()}
        if len(lengths) != 1:
            raise InternalError(f"the quantities of a block of '{group}' have different lengths: {sorted(lengths)}")
        stop = start + lengths.pop()
        for name, values in block.items():
            array = node[name]
            needed = (array.shape[0], stop - start, *array.shape[2:])
            if np.shape(values) != needed:
                raise InternalError(f"'{group}/{name}' takes blocks of shape {needed}, not {np.shape(values)}")
            array.resize((array.shape[0], stop, *array.shape[2:]))
            array[:, start:stop] = np.asarray(values, dtype=array.dtype)
        node["draw"].resize((stop,))
        node["draw"][start:stop] = np.arange(start, stop)

    def write(self, **groups: Mapping[str, np.ndarray]) -> None:
        """Write arrays of groups without chain and draw (observed data, streaming moments); again to replace them."""
        with _told_as_run_error(self.path), _quiet():
            for group, arrays in groups.items():
                for name, values in arrays.items():
                    self._root[group][name][...] = np.asarray(values)
            self._publish()

    def set_attrs(self, **attrs: Any) -> None:
        """Add facts about the run (`seconds=...`) to what reports show."""
        with _told_as_run_error(self.path), _quiet():
            self._root.attrs.update(json_safe(attrs))
            self._publish()

    def close(self) -> None:
        """Nothing is pending between blocks; closing only says that the run has ended."""
        self.set_attrs(finished=True)

    def __enter__(self) -> DrawsWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def _publish(self) -> None:
        """Let readers see what has been written."""
        import zarr

        zarr.consolidate_metadata(self.path)
        self._root = zarr.open_group(self.path, mode="r+", use_consolidated=False)


def open_run(path: str | Path) -> Draws:
    """The draws of a run folder, or of a `.zarr` store itself, finished or still going on; arrays are read on use."""
    import zarr

    path = Path(path)
    store = path if path.suffix == ".zarr" else path / STORE
    if not store.exists():
        raise Diagnostic(
            "run", "there are no draws here", where=str(store), hint="give a folder that meshbayes run made"
        )
    with _told_as_run_error(store), _quiet():
        root = zarr.open_group(store, mode="r")
        groups: dict[str, dict[str, Variable]] = {}
        coords: dict[str, np.ndarray] = {}
        for group, node in root.groups():
            groups[group] = {}
            order = {name: i for i, name in enumerate(node.attrs.get("order", ()))}
            for name, array in sorted(node.arrays(), key=lambda member: order.get(member[0], len(order))):
                dims = tuple(array.metadata.dimension_names or ())
                if dims != (name,):
                    groups[group][name] = Variable(dims, array)
                elif name not in ("chain", "draw"):
                    coords[name] = native(array[...], f"{store}[{group}/{name}]")
        beside = store.with_name(PRIOR)
        if store.name == STORE and beside.exists():
            groups |= open_run(beside).groups
        return Draws(groups, coords, dict(root.attrs))


def chunk_shape(spec: Spec, chains: int, draws: int | None) -> tuple[int, ...]:
    """Chunks of about `CHUNK_BYTES`: as many draws as fit, or a part of one draw of one chain if that is larger."""
    one = max(1, int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize)
    if one > CHUNK_BYTES:
        return (1, 1, *_fit(spec.shape, np.dtype(spec.dtype).itemsize))
    per_chunk = CHUNK_BYTES // one
    chunk_chains = min(chains, per_chunk)
    limit = min(CHUNK_DRAWS, draws or CHUNK_DRAWS)
    return (chunk_chains, max(1, min(limit, per_chunk // chunk_chains)), *(max(1, n) for n in spec.shape))


def _fit(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Halve the leading axes until a block of the array is at most `CHUNK_BYTES`."""
    chunks = [max(1, n) for n in shape]
    for axis in range(len(chunks)):
        while chunks[axis] > 1 and int(np.prod(chunks)) * itemsize > CHUNK_BYTES:
            chunks[axis] = -(-chunks[axis] // 2)
    return tuple(chunks)


def _labels(node: Any, dim: str, labels: np.ndarray) -> None:
    """A coordinate array: 1-D and named like its dim."""
    dtype = str if labels.dtype.kind in "UTO" else labels.dtype
    array = node.create_array(dim, shape=labels.shape, dtype=dtype, dimension_names=(dim,))
    array[...] = labels.astype(str) if dtype is str else labels


def json_safe(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as JSON can hold them: NumPy scalars as numbers, everything unknown as text."""
    return json.loads(json.dumps(dict(attrs), default=lambda v: v.item() if isinstance(v, np.generic) else str(v)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Zarr's notice that consolidated metadata is not in the format 3 specification yet; xarray reads it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        yield


@contextlib.contextmanager
def _told_as_run_error(path: Path) -> Iterator[None]:
    """Turn what the operating system says about the disk into a `Diagnostic`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message, hint = (
                "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up",
                "free some space and run again; draws up to the last block are safe",
            )
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            message, hint = "no permission to write here", "choose a folder you may write to with --out"
        else:
            message, hint = f"the store cannot be read or written: {error}", "check the disk, then run again"
        raise Diagnostic("run", message, where=str(path), hint=hint) from error
    except (ValueError, KeyError, TypeError) as error:
        import zarr

        if isinstance(error, zarr.errors.BaseZarrError | json.JSONDecodeError):
            raise Diagnostic(
                "run", f"the store is damaged: {error}", where=str(path), hint="copy it again, or start a new run"
            ) from error
        raise
