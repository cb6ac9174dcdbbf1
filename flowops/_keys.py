"""Numbers from what they depend on: a seed for everything that draws, and a short name for the content of samples.

A draw that depends on `(seed, step)` alone is seeded with `key("what it is", seed, step)`. Streams of different names
are independent, whatever their numbers; a resumed or a distributed run computes the same keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

_CHUNK = 1 << 15  # samples hashed at once, so that a mapped file is read once and not kept


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


def content_hash(parts: Iterable[str | Tensor]) -> str:
    """`sha256 <16 digits>` of texts, and of the values of tensors after their shape and dtype."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(f"{part}\n".encode())
            continue
        digest.update(f"{list(part.shape)} {part.dtype}\n".encode())
        for chunk in part.split(_CHUNK):
            digest.update(chunk.contiguous().cpu().numpy().data.cast("B"))
    return f"sha256 {digest.hexdigest()[:16]}"
