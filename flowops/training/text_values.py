"""Options as text, `name=value`: numbers, words and numbers between commas, never evaluated as Python."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

WORDS = {"true": True, "false": False, "none": None}


def parse_values(
    texts: Sequence[str], setting: str, special: Mapping[str, Callable[[str], Any]] | None = None
) -> dict[str, Any]:
    """The values by name.

    A value is a number, true, false, none, numbers with commas between them, or else the text itself.

    Args:
        texts: as in `["eta=0.5", "guidance=1,4"]`.
        setting: what they are called in messages.
        special: how the values of some names are read that are none of these.

    Raises:
        ValueError: for a text without a name or a value, a name given twice, and words between commas.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise ValueError(f"`{setting}` must be name=value, got {text!r}; write eta=0.5, say.")
        if name in values:
            raise ValueError(f"`{setting}` must name each option once, got {name} twice; drop one of them.")
        values[name] = (special or {}).get(name, lambda value: _value(value, setting))(value)
    return values


def _value(text: str, setting: str) -> Any:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        parts = [_number(part) for part in text.split(",")]
    except ValueError:
        if "," in text:
            raise ValueError(f"`{setting}` must hold numbers between commas, got {text}; write 1,4.") from None
        return text
    return parts[0] if len(parts) == 1 else tuple(parts)


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
