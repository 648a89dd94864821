"""A plan for people and for programs: tables, JSON, pictures.

`format_plan` is plain text, `print_plan` a table for a terminal, `as_json` plain data, `write_html` a page to explore,
`dot_text` and `mermaid_text` the graph for tools that draw graphs.
"""

from .dot import dot_text
from .html import html_page, write_html
from .json import as_json
from .mermaid import mermaid_text
from .prices import Prices
from .table import format_plan
from .terminal import print_plan
from .units import bytes_text, seconds_text

__all__ = [
    "Prices",
    "as_json",
    "bytes_text",
    "dot_text",
    "format_plan",
    "html_page",
    "mermaid_text",
    "print_plan",
    "seconds_text",
    "write_html",
]
