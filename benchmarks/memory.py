"""The peak of memory that a plan predicts against what XLA says that the compiled program needs: nothing is run.

`ours` is the prediction and `peer` XLA's arguments, results and temporary buffers on one device [MB]; a ratio below 1
means that a program may need more than its plan says.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from _harness import arguments, report

from tests.yardsticks.memory_cases import CASES, HELD_OUT, OTHERS, planned, predicted_bytes, xla_bytes

TARGET = 1.25


def main() -> None:
    options = arguments(__doc__ or "")
    rows = []
    for case in CASES[::4] if options.quick else (*CASES, *OTHERS, *HELD_OUT):
        executable = planned(case)
        ours, peer = predicted_bytes(executable) / 1e6, xla_bytes(executable) / 1e6
        row = {"case": str(case), "metric": "peak memory per device [MB]", "ours": ours, "peer": peer}
        rows.append({**row, "peer_name": "XLA:CPU memory_analysis", "ratio": ours / peer, "target": TARGET})
    report("memory", rows, ("jax", "jaxlib"), options.json)


if __name__ == "__main__":
    main()
