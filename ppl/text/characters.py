"""Characters that no token begins with: what their writer meant, and what to type instead."""

from __future__ import annotations

import re
import unicodedata

from ir.errors import Diagnostic, Source, Span

# What an editor, a word processor or a paper puts in place of the character that we read.
LOOKALIKES = {
    "−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "∕": "/", "∼": "~", "˜": "~", "≤": "<=",
    "≥": ">=", "≠": "!=", "→": "->", "←": "=", "“": '"', "”": '"', "„": '"', "‘": '"', "’": '"', "²": "^2", "³": "^3",
    "\xa0": " ", "\u2009": " ", "\u202f": " ", "\u3000": " ", "\u200b": "", "\u200c": "", "\u200d": "", "\ufeff": "",
    "\u2060": "", "（": "(", "）": ")", "，": ",",
}  # fmt: skip

ADVICE = "names are made of the letters a to z, digits and `_`"

# Signs of other languages: what is written here, and how a line with them is put right (None: by hand).
FOREIGN = {
    "'": ("strings stand in double quotes", ("'", '"')),
    "&": ("logical and is the word `and`", (r"\s*&&?\s*", " and ")),
    "|": ("logical or is the word `or`", (r"\s*\|\|?\s*", " or ")),
    "!": ("logical not is the word `not`", (r"!(?!=)\s*", "not ")),
    ".": ("names have no parts, and `*`, `/`, `^` need no dot", (r"\b[A-Za-z_]\w*\.(?=[A-Za-z_])|\.(?=[*/^+-])", "")),
    "$": ("`$` is not part of the language", (r"\$", "")),
    "`": ("names are not quoted", ("`", "")),
    '"': ("this string is not closed", 'end it with `"` on the same line'),
    "%": ("there is no `%` operator", "`a - b * floor(a / b)` is the remainder"),
    "?": ("there is no `a ? b : c`", "`where(a, b, c)` chooses elementwise"),
    "\\": ("a backslash does not continue a line", "wrap the expression in ( ): inside brackets a line end is ignored"),
}


def explain(source: Source, line: int, column: int) -> Diagnostic:
    """The diagnostic for the character at a place of the source."""
    text = source.line(line)
    character = text[column - 1]
    span = Span(source, line, column, line, column + 1)
    if character in FOREIGN:
        message, remedy = FOREIGN[character]
        hint = remedy if isinstance(remedy, str) else f"write `{re.sub(*remedy, text).strip()}`"
        return Diagnostic("syntax", message, span=span, hint=hint)
    message = f"{describe(character)} is not part of the language"
    plain = "".join(typeable(c) for c in text).strip()
    if plain.isascii() and plain.isprintable() and plain != text.strip():
        return Diagnostic("syntax", message, span=span, hint=f"write `{plain}`")
    return Diagnostic("syntax", message, span=span, hint=ADVICE)


def describe(character: str) -> str:
    name = unicodedata.name(character, f"character number {ord(character)}").lower()
    visible = character.isprintable() and not character.isspace()
    return f"`{character}` ({name})" if visible else f"the invisible {name}"


def typeable(character: str) -> str:
    """The character as one types it here: a Greek letter as its name, a lookalike as what it looks like."""
    if character.isascii():
        return character
    if character in LOOKALIKES:
        return LOOKALIKES[character]
    words = unicodedata.name(character, "").split()
    if words[:1] == ["GREEK"] and "LETTER" in words and words[-1].isalpha():
        return words[-1].capitalize() if words[1] == "CAPITAL" else words[-1].lower()
    if character == "µ":
        return "mu"
    decomposed = unicodedata.normalize("NFKD", character)
    return decomposed[0] if decomposed[0].isascii() else character
