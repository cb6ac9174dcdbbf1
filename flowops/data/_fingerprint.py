"""A short name for content: the same for the same samples, wherever they were read from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from torch import Tensor

from flowops.data.images import Split

_CHUNK = 1 << 15  # samples hashed at once, so that a mapped file is read once and not kept


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


def fingerprint(splits: Mapping[str, Split]) -> str:
    """The hash of the pictures and the labels of all splits, in the order of their names."""

    def parts() -> Iterator[str | Tensor]:
        for name in sorted(splits):
            labels = splits[name].labels
            yield from (name, splits[name].pixels, "no labels" if labels is None else labels)

    return content_hash(parts())
