"""Where each tensor lives: from a program, a mesh and a machine to the best plan, proven. See planner/README.md."""

from .cost import Costs, evaluate
from .ask.explain import Alternative, alternatives, explain
from .machine import Machine
from .make import make_plan
from .memory import peak_bytes
from .pins import Pin, parse_pin
from .plan_file import PlanFile, layout_text, parse_layout, parse_plan, read_plan_file, write_plan
from .show import as_json, format_plan

__all__ = [
    "Alternative",
    "Costs",
    "Machine",
    "Pin",
    "PlanFile",
    "alternatives",
    "as_json",
    "evaluate",
    "explain",
    "format_plan",
    "layout_text",
    "make_plan",
    "parse_layout",
    "parse_pin",
    "parse_plan",
    "peak_bytes",
    "read_plan_file",
    "write_plan",
]
