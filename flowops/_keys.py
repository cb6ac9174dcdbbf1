"""Numbers from what they depend on: a seed for everything that draws, and a short name for the content of samples.

A draw that depends on `(seed, step)` alone is seeded with `key("what it is", seed, step)`. Streams of different names
are independent, whatever their numbers; a resumed or a distributed run computes the same keys. A process that trains on
a share of a joint batch takes its rows of what is drawn, and of large draws makes little more than these.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable

import torch
from torch import Tensor

_CHUNK = 1 << 15  # samples hashed at once, so that a mapped file is read once and not kept
_LANES = 16  # of normal samples; a power of two, so that the shares of most numbers of processes are whole lanes


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


def rows_of(n: int, part: tuple[int, int]) -> slice:
    r"""The rows $k,k+W,k+2W,\dots$ of `n` that make up the part $(k,W)$.

    Raises:
        ValueError: unless $W$ divides `n` and $0\le k<W$.
    """
    k, count = part
    if count < 1 or n % count:
        raise ValueError(
            f"The number of parts must divide the batch of {n} samples, got {count}; choose a multiple as batch."
        )
    if not 0 <= k < count:
        raise ValueError(f"The number of a part must lie between 0 and {count - 1}, got {k}; pass one of them.")
    return slice(k, None, count)


def normal_like(x: Tensor, *parts: int | str, part: tuple[int, int] = (0, 1)) -> Tensor:
    r"""Standard normal samples like `x`: the part $(k,W)$ of a joint batch of $W$ times as many.

    Row $i$ of the joint batch lies in lane $i\bmod16$, and each lane has a generator of its own on the device of `x`,
    seeded by the key of `parts` and its number. So the rows are the same for every $W$, a process draws nothing but its
    rows where $W$ divides 16, and otherwise the lanes in which it has some.
    """
    k, count = part
    shared = math.gcd(count, _LANES)
    lanes = range(k % shared, _LANES, shared)
    drawn = x.new_empty((len(lanes), -(-count * len(x) // _LANES), *x.shape[1:]))
    source, first = torch.Generator(x.device), key(*parts)
    for lane, values in zip(lanes, drawn, strict=True):
        values.normal_(generator=source.manual_seed(first ^ lane))
    rows = drawn.transpose(0, 1).flatten(0, 1)  # in the order of the joint batch
    return rows[k // shared :: count // shared][: len(x)].contiguous()


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
