"""What is taken to noise: data that a run was not trained on, or pictures in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from flowops._arguments import whole
from flowops.data import Dataset, open_dataset
from flowops.data.images import Images, to_float
from flowops.pictures import is_image
from flowops.runs import Run

_TRIED = 4  # times as many data as are wanted of one class, for each class there is


@dataclass(frozen=True)
class Originals:
    """Data with their classes.

    Attributes:
        x1: `[n, *event]`, on the device of the run.
        labels: `[n]` on the CPU, or None for a run without labels.
        origin: what they are, in words.
    """

    x1: Tensor
    labels: Tensor | None
    origin: str


def held_out(run: Run, n: int, *, label: int | None = None, split: str | None = None, seed: int = 0) -> Originals:
    """`n` data of the set of the run, of the split "test" where there is one, chosen by `seed`.

    Args:
        run: the run.
        n: how many.
        label: only those of this class.
        split: another split.
        seed: which ones.

    Raises:
        ValueError: for a split that does not exist, a class that does not, and more data than there are.
    """
    whole(n, "n")
    run.conditioning(1, label)  # which refuses a class that does not exist
    data, found = run.dataset, _split_of(run.dataset) if split is None else split
    tried = n if label is None else _TRIED * n * len(run.classes)
    if isinstance(data, Images) and label is not None:
        tried = min(tried, len(data.pixels(found)))
    elif data.size is not None and label is not None:
        tried = min(tried, data.size)
    batch = data.reference(tried, split=found, seed=seed)
    x1, labels = batch.x1, batch.labels if run.classes else None
    if label is not None and labels is not None:
        rows = torch.nonzero(labels == label).flatten()[:n]
        if len(rows) < n:
            raise ValueError(
                f"`n` must be at most {len(rows)}, the data of class {run.classes[label]} found in the split {found}, "
                f"got {n}; pass a smaller one."
            )
        x1, labels = x1[rows], labels[rows]
    kind = "pictures" if is_image(run.event) else "samples"
    origin = f"{n} {kind} of the split {found} of {data.name}"
    return Originals(x1.to(run.device), None if labels is None else labels.cpu(), origin)


def read_pictures(run: Run, path: Path | str, n: int | None = None, *, label: int | None = None) -> Originals:
    """The first `n` pictures in a folder or an archive, in the order of their names.

    Their classes are `label`, or the names of the folders they lie in.

    Raises:
        OSError: if there is nothing.
        ValueError: for samples that are no pictures, pictures of another size than those of the run, and pictures of
            which a run with labels is not told the class.
    """
    run.conditioning(1, label)
    if not is_image(run.event):
        raise ValueError(
            f"`pictures` must be left out for samples of shape {list(run.event)}, got {path}; pass n for held-out data."
        )
    images = open_dataset("folder", path=path, flip=False, channels=run.event[0])
    assert isinstance(images, Images)
    if images.event != run.event:
        wanted, found = (" x ".join(map(str, event[1:])) for event in (run.event, images.event))
        raise ValueError(
            f"`pictures` must be of {wanted} pixels as those of the run, got {found} in {path}; scale them."
        )
    split = images.splits["test" if "test" in images.splits else "train"]
    n = len(split) if n is None else min(whole(n, "n"), len(split))
    labels = None
    if run.classes:
        labels = torch.full((n,), label) if label is not None else _named(run, images, split.labels, n, path)
    return Originals(to_float(split.pixels[:n]).to(run.device), labels, f"{n} pictures in {path}")


def _named(run: Run, images: Images, labels: Tensor | None, n: int, path: Path | str) -> Tensor:
    """The classes of pictures by the names of their folders."""
    if labels is None or not set(images.classes) <= set(run.classes):
        found = ", ".join(images.classes) or "no folders"
        raise ValueError(
            f"`label` must be given for pictures that lie in no folders named as the classes of the run "
            f"({', '.join(run.classes[:10])}{', ...' if len(run.classes) > 10 else ''}), got {found} in {path}; pass "
            f"one for all."
        )
    number = torch.tensor([run.classes.index(name) for name in images.classes])
    return number[labels[:n].cpu()]


def _split_of(data: Dataset) -> str:
    """What was held out, if anything was."""
    try:
        data.reference(1, split="test")
    except ValueError:
        return "train"
    return "test"
