"""Seeds from names: one whole number for everything that draws, computed from what the draw depends on.

A draw that depends on `(seed, step)` alone is seeded with `key("what it is", seed, step)`. Streams of different names
are independent, whatever their numbers; a resumed or a distributed run computes the same keys.
"""

from __future__ import annotations

import hashlib

import torch


def key(*parts: int | str) -> int:
    """63 bits of the BLAKE2b hash of the parts, a seed for `torch.Generator.manual_seed`.

    A part is hashed as its type, its length and its decimal or UTF-8 form, so that `key("a", 12)`, `key("a", "12")` and
    `key("a1", 2)` differ. The value is the same on every machine and for every version of Python.

    Raises:
        TypeError: for a part that is neither a whole number nor a string.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, int | str):
            raise TypeError(f"`parts` must be whole numbers and strings, got {part!r}; convert it with int() or str().")
        text = str(part).encode()
        digest.update(f"{'s' if isinstance(part, str) else 'i'}{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest(), "big") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A generator on the CPU seeded with the key of the parts; its draws are the same whatever device they move to."""
    return torch.Generator().manual_seed(key(*parts))
