"""Values that every format can hold: JSON knows no NaN, XML no control characters."""

from __future__ import annotations

import math
import re
from typing import Any

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def finite(value: Any) -> Any:
    """The same with null in place of numbers that are not finite, which are no JSON."""
    if isinstance(value, dict):
        return {name: finite(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [finite(held) for held in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def legal(text: str) -> str:
    """The same with a question mark in place of what XML must not hold."""
    return _ILLEGAL.sub("?", text)
