"""The two kinds of error: a `Diagnostic` is the user's and teaches, an `InternalError` is ours."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Source:
    """A text that spans point into: its name as the user knows it, and its whole content."""

    file: str
    text: str = field(repr=False)

    def line(self, number: int) -> str:
        """Line `number` (from 1), or the empty string past the end."""
        lines = self.text.splitlines()
        return lines[number - 1] if 1 <= number <= len(lines) else ""


@dataclass(frozen=True)
class Span:
    """A range of a source; lines and columns count from 1, the end column is one past the last."""

    source: Source
    line: int
    column: int
    end_line: int
    end_column: int

    def __str__(self) -> str:
        return f"{self.source.file}:{self.line}:{self.column}"

    def excerpt(self) -> str:
        """The line before, the line itself and a caret under the range."""
        width = len(str(self.line))
        shown = [f"  {n:>{width}} | {self.source.line(n)}" for n in (self.line - 1, self.line) if n >= 1]
        text = self.source.line(self.line)
        end = self.end_column if self.end_line == self.line else len(text) + 1
        lead = "".join("\t" if c == "\t" else " " for c in text[: self.column - 1]).ljust(self.column - 1)
        shown.append(f"  {' ' * width} | {lead}{'^' * max(1, end - self.column)}")
        return "\n".join(shown)


class Diagnostic(Exception):
    """A mistake in what the user gave us: what, where, why, and a hint that works.

    `kind` is one word or two for the stage that found it: "syntax", "type", "data", "plan", "argument", "run".
    `where` names the place when there is no span: a file, a key of a plan file, a command-line option.
    """

    def __init__(
        self, kind: str, message: str, *, span: Span | None = None, hint: str | None = None, where: str | None = None
    ):
        super().__init__(message)
        self.kind, self.message, self.span, self.hint, self.where = kind, message, span, hint, where

    def at(self, span: Span | None) -> Diagnostic:
        """The same diagnostic, placed at `span` unless it already has a place."""
        if self.span is None and span is not None:
            self.span = span
        return self

    def render(self) -> str:
        """What the command line prints: one diagnostic, with a caret where there is a source."""
        place = f"{self.span}: " if self.span else f"{self.where}: " if self.where else ""
        parts = [f"{self.kind} error: {place}{self.message}"]
        if self.span:
            parts.append(self.span.excerpt())
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)

    def __str__(self) -> str:
        return self.render()


class InternalError(Exception):
    """A broken invariant of ours: never the user's fault, always worth a bug report."""
