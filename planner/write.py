"""Files that are whole or not there."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | Path, text: str) -> None:
    """Writes a text file; where that fails (`OSError`), what was there before is untouched and nothing half is left.

    What is no plain file (a pipe, a device), and a file in a folder in which none can be made, is written as it is.
    """
    target = Path(path)
    target = target.resolve() if target.is_symlink() else target
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    if (target.exists() and not target.is_file()) or (target.exists() and not os.access(target.parent, os.W_OK)):
        target.write_text(text, encoding="utf-8")
        return
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", str(target))
    try:
        part.write_text(text, encoding="utf-8")
        if target.exists():
            shutil.copymode(target, part)
        os.replace(part, target)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
