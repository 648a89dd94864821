"""What a run tells a person: a table of numbers that can be trusted, warnings that say what to do, one HTML page."""

from .html import write_report
from .summary import FieldRow, Row, Summary, diagnose, summarize
from .warnings import Finding, find_warnings

__all__ = ["FieldRow", "Finding", "Row", "Summary", "diagnose", "find_warnings", "summarize", "write_report"]
