"""FITS: images by extension name (or the file's stem), tables by column name.

FITS counts axes from the fastest: an image of NAXIS1 = 64, NAXIS2 = 48 is an array of shape (48, 64). Names of
extensions and columns are matched without regard to case, as the standard (4.0, §4.4.2.6 and §7.2.1) recommends.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ir.errors import Diagnostic

from .datum import Datum, Entry, damaged, native


def read_fits(path: Path) -> Iterator[Entry]:
    """One entry per image and per table column; `entry = "2"` or `hdu = 2` chooses an image by its number."""
    from astropy.io import fits

    with _open(path) as hdus:
        images = [i for i, h in enumerate(hdus) if h.is_image and h.header.get("NAXIS", 0) > 0]
        tables = [i for i, h in enumerate(hdus) if isinstance(h, fits.BinTableHDU | fits.TableHDU) and not h.is_image]
        names = {i: hdus[i].header.get("EXTNAME") for i in images}
        columns = {i: list(hdus[i].columns.names) for i in tables}
    stem = path.name.split(".fit")[0]
    unnamed = [i for i in images if not names[i]]
    for i in images:
        name = names[i] or (stem if i == unnamed[0] else f"{stem}_{i}")
        yield Entry(name, lambda i=i: _load(path, i, None), f"{path}[{i}]", (str(i), name.lower()))
    taken: set[str] = set()
    for i in tables:
        for column in columns[i]:
            name = column if column not in taken else f"{column}_{i}"
            taken.add(name)
            aliases = (name.lower(), f"{i}/{column}")
            yield Entry(name, lambda i=i, c=column: _load(path, i, c), f"{path}[{i}/{column}]", aliases)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """The open file; a warning of astropy about a truncated or malformed file is an error here.

    The handle is ours, because astropy leaves its own open when a header is bad.
    """
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyUserWarning

    with path.open("rb") as handle:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", AstropyUserWarning)
                hdus = fits.open(handle, memmap=False, lazy_load_hdus=False)
        except (OSError, TypeError, ValueError, EOFError, AstropyUserWarning) as error:
            raise damaged(path, error, "FITS") from error
        with hdus:
            yield hdus


def _load(path: Path, number: int, column: str | None) -> Datum:
    source = f"{path}[{number}]" if column is None else f"{path}[{number}/{column}]"
    with _open(path) as hdus:
        try:
            content = hdus[number].data
            value = native(content if column is None else content[column], source)
        except Diagnostic as error:
            error.hint = "columns of varying length are not arrays: write a column of fixed length and mask the padding"
            raise
        except (OSError, TypeError, ValueError, KeyError) as error:
            raise damaged(source, error, "FITS") from error
    return Datum(value.copy(), source=source)
