"""Where each tensor lives: from a program, a mesh and a machine to the best plan, proven. See planner/README.md."""

from .ask.best import best_plans
from .ask.budget import TooSmall
from .ask.certify import certify, check_plan
from .ask.conflict import Conflict
from .ask.diff import Difference, diff, format_diff
from .ask.explain import Alternative, alternatives, alternatives_json, explain
from .ask.memory_price import MemoryPrice, format_memory_price, memory_price
from .ask.prices import prices
from .ask.where import Where, format_where, where
from .cost import Costs, evaluate
from .fastest import fastest
from .machine import Machine
from .make import make_plan
from .memory import peak_bytes
from .meshes import MeshSearch, mesh_shapes, search_mesh
from .orders import (
    Ban,
    Order,
    Pin,
    Preference,
    parse_ban,
    parse_order,
    parse_pin,
    parse_preference,
    read_margin,
    without_chains,
)
from .plan_file import PlanFile, layout_text, parse_layout, parse_plan, read_plan_file, write_plan
from .recompute import Again
from .show import Prices, as_json, dot_text, format_plan, html_page, mermaid_text, print_plan, write_html
from .show.units import read_bytes
from .write import write_whole

__all__ = [
    "Again",
    "Alternative",
    "Ban",
    "Conflict",
    "Costs",
    "Difference",
    "Machine",
    "MemoryPrice",
    "MeshSearch",
    "Order",
    "Pin",
    "PlanFile",
    "Preference",
    "Prices",
    "TooSmall",
    "Where",
    "alternatives",
    "alternatives_json",
    "as_json",
    "best_plans",
    "certify",
    "check_plan",
    "diff",
    "dot_text",
    "evaluate",
    "explain",
    "fastest",
    "format_diff",
    "format_memory_price",
    "format_plan",
    "format_where",
    "html_page",
    "layout_text",
    "make_plan",
    "memory_price",
    "mermaid_text",
    "mesh_shapes",
    "parse_ban",
    "parse_layout",
    "parse_order",
    "parse_pin",
    "parse_plan",
    "parse_preference",
    "peak_bytes",
    "prices",
    "print_plan",
    "read_bytes",
    "read_margin",
    "read_plan_file",
    "search_mesh",
    "where",
    "without_chains",
    "write_html",
    "write_plan",
    "write_whole",
]
