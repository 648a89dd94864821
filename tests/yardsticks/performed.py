"""The cases on which plans are held to the programs made of them, and how that is done.

Those of the StableHLO that we emit are the plan's to the byte: kind, axes, dtype, size of the operand, trip count. In
XLA's optimised program each is found again; the one rewrite that XLA:CPU makes is *combining*, several operands in one
instruction, which changes no bytes. Whatever else a version of XLA does fails here and wants a name.
"""

from collections import Counter
from functools import cache

from backend_cuda.inspect import emitted, optimised
from ir.layout import collectives_of
from planner import format_plan
from tests.yardsticks.on_meshes import Case, compiled

MESHES = ("8", "row=4,col=2", "row=2,col=2")
PENCILS = Case("mass", "row=4,col=2", "gathers are dear", ("white:x=row,y=col", "chain:whole"))
PINNED = (
    PENCILS,
    Case("mass", "row=4,col=2", "laptop", ("white:x=row,y=col", "chain:whole")),
    Case("mass", "row=2,col=2", "gathers are dear", ("white:y=row+col",)),
    Case("mass", "row=4,col=2", "talk is cheap", ("modes:kx=col,ky=row", "white:x=row,y=col")),
    Case("linear", "row=4,col=2", "laptop", ("y:obs=row", "chain:col")),
    Case("radon", "row=4,col=2", "gathers are dear", ("y:obs=row", "alpha_raw:county=col")),
    Case("radon", "8", "laptop", ("y:obs=row", "alpha:county=row")),
    Case("eight", "row=2,col=2", "laptop", ("theta_raw:school=col",)),
)
EVERY = ("mass", "linear", "radon", "eight")
CASES = [Case(e) for e in EVERY] + [Case(e, m) for e in EVERY for m in MESHES]
CASES += [Case(e, m, how) for e in EVERY for m in MESHES[:2] for how in ("talk is cheap", "gathers are dear")]
CASES += [Case(e, MESHES[2], how, ("chain:whole",)) for e in EVERY for how in ("talk is cheap", "gathers are dear")]
CASES += PINNED
QUICK = (PENCILS, *PINNED[5:])
CHAINS = 4


@cache
def lowered(case):
    program = compiled(case).gradient_program(CHAINS)
    return program, program.lowered()


def declared(executable):
    """The plan's collectives with their trip counts, and how often each stands there."""
    plan = executable.plan
    found = Counter()
    for step in plan.steps(executable.program):
        found.update((c, step.trips) for c in collectives_of(step.move, step.value.type, step.before, plan.mesh))
    return found


def listed(performed):
    return Counter((p.collective, p.trips) for p in performed)


def bytes_by_kind(listing):
    total = Counter()
    for (c, trips), count in listing.items():
        total[c.kind] += c.bytes * trips * count
    return total


def printed(executable):
    """The lines under `collectives` in the printed plan."""
    text = format_plan(executable.program, executable.plan)
    return sorted(line.strip() for line in text.split("\ncollectives\n")[1].splitlines())


def verify_emitted(executable, program):
    """The StableHLO holds exactly what the plan declares and prints; gives the listing."""
    performed = emitted(program, executable.plan.mesh)
    assert listed(performed) == declared(executable)
    total = Counter()
    for p in performed:
        total[p.collective] += p.trips
    assert total == executable.plan.collectives(executable.program)
    assert printed(executable) == (sorted(f"{n} x {c}" for c, n in total.items()) or ["none"])
    return listed(performed)


def verify_optimised(program, mesh, priced):
    """XLA's program has the same collectives, some combined into one instruction; gives how many were."""
    performed = optimised(program.compile(), mesh)
    assert listed(performed) == priced, "XLA changed a collective: name its rewrite here"
    return len(performed) - len({p.instruction for p in performed})
