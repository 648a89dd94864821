"""Into and out of a run: data files to checked arrays, draws to a store that grows, and both to ArviZ."""

from .arviz import to_arviz
from .check import CheckedData, check_data
from .datum import Data, Datum
from .declare import Declaration
from .draws import Draws, Variable
from .read import as_data, read_data, read_many
from .store import DrawsWriter, Spec, open_run

__all__ = [
    "CheckedData",
    "Data",
    "Datum",
    "Declaration",
    "Draws",
    "DrawsWriter",
    "Spec",
    "Variable",
    "as_data",
    "check_data",
    "open_run",
    "read_data",
    "read_many",
    "to_arviz",
]
