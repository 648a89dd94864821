"""The text language: `parse` turns a model file into an AST or one helpful error, `unparse` writes it back."""

from ppl.text import ast
from ppl.text.parse import parse
from ppl.text.unparse import unparse

__all__ = ["ast", "parse", "unparse"]
