"""Collectives in optimised HLO, whoever wrote the program: what each gives, and how deep in loops it stands."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast)(?:-start)?\("
)
_CALLED = re.compile(r"(?:calls|to_apply|condition|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_BODY = re.compile(r"body=%?([\w.\-]+)")
_SCOPES = re.compile(r'op_name="([^"]*)"')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"1"\}')


@dataclass(frozen=True)
class Found:
    """An instruction. `elements`: of its largest result; `loops`: of how many loops' bodies it is a part; `body`: the
    innermost one's name, empty outside all loops; `scopes`: the names that JAX gave what it comes from, outermost
    first, with slashes."""

    kind: str
    elements: int
    loops: int
    body: str = ""
    scopes: str = ""


def collectives(text: str) -> list[Found]:
    """Every collective of a module once for each place that it is reached from.

    A loop that is known to run once is none. The predicates of loops count with what stands around them.
    """
    bodies, entry = _computations(text)

    def visit(name: str, loops: int, within: str) -> Iterator[Found]:
        for line in bodies[name]:
            found = _COLLECTIVE.search(line)
            if found:
                scopes = _SCOPES.search(line)
                yield Found(found[2], _largest(found[1]), loops, within, scopes[1] if scopes else "")
                continue
            once = _TRIPS.search(line) is not None
            for body in _BODY.findall(line):
                yield from visit(body, loops + (not once), within if once else body)
            called = _CALLED.findall(line)
            for branches in _BRANCHES.findall(line):
                called += [c.strip().lstrip("%") for c in branches.split(",")]
            for one in called:
                yield from visit(one, loops, within)

    return list(visit(entry, 0, ""))


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    found: dict[str, list[str]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        head = _COMPUTATION.match(line)
        if head:
            lines = found.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif line.startswith("  "):
            lines.append(line)
    return found, entry


def _largest(result: str) -> int:
    return max(math.prod(int(n) for n in s.split(",") if n) for s in re.findall(r"\w+\[([\d,]*)\]", result))
