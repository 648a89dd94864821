"""A page in headless Chromium: what it holds after its scripts ran, and what it complains of."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=5000", "--window-size=1400,900",
)  # fmt: skip

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to open the page in")


def ask(page: str, question: str, folder: Path) -> Any:
    """Opens a page, runs a JavaScript function body in it and gives back what that returns.

    Fails where the page's own scripts, or the question, report an error.
    """
    assert CHROMIUM is not None
    asked = f"""
const asked = document.createElement("pre");
asked.id = "asked";
try {{ asked.textContent = JSON.stringify({{ answer: (() => {{ {question} }})() }}); }}
catch (error) {{ asked.textContent = JSON.stringify({{ error: String(error.stack) }}); }}
document.body.append(asked);
"""
    path = folder / "asked.html"
    path.write_text(page.replace("</script>\n</body>", f"{asked}</script>\n</body>"), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    complaints = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    assert not complaints, "\n".join(complaints)
    found = re.search(r'<pre id="asked">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, f"the page's scripts did not run to their end: {done.stdout[-2000:]}"
    told = json.loads(unescape(found[1]))
    assert "error" not in told, told["error"]
    return told["answer"]
