"""Measures cells of the table and prints a row each: `python -m tests.exactness [PART OF A NAME ...]`, any of them."""

import os
import sys
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.exactness.table import TABLE

failed = 0
for cell in TABLE:
    if sys.argv[1:] and not any(part in cell.name for part in sys.argv[1:]):
        continue
    start = time.process_time()
    verdict = cell.measure()
    failed += bool(verdict.failures)
    what = f" FAILED: {'; '.join(verdict.failures)}" if verdict.failures else ""
    print(f"{cell.name}: {verdict}; {time.process_time() - start:.0f} s{what}", flush=True)
sys.exit(failed > 0)
