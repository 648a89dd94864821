"""A plan for people and for programs: tables, JSON, pictures."""

from .table import as_json, bytes_text, format_plan, seconds_text

__all__ = ["as_json", "bytes_text", "format_plan", "seconds_text"]
