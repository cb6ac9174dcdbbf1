"""ImageNet at 32 x 32, which exists in two versions that are not comparable; the set says which one it is.

The box-resized one (Chrabaszcz et al. 1707.08819) comes as ten training batches and one validation batch, pickled or as
.npz: rows of 3072 bytes (red, green, blue), labels from 1 to 1000 in an order of its own; 1,281,167 and 50,000
images. The older one (van den Oord et al. 1601.06759, `train_32x32` and `valid_32x32`) comes as image files without
labels; 1,281,149 and 49,999 images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from flowops.data.files.imagenet_batches import find_batches, read_batch, read_labels
from flowops.data.files.packed import Allocate, Content, Fill, packed_once, place
from flowops.data.files.paths import check_folder
from flowops.data.files.sources import TARS, Source, open_source, stamp
from flowops.data.image_folder import Layout, read
from flowops.data.images import Images, Resident, Split, check_resident, fingerprint

_SHAPE, _CLASSES = (3, 32, 32), tuple(str(number) for number in range(1, 1001))
_WHAT = "a folder with train_data_batch_1 to _10 (pickled or .npz), or with train_32x32 (a folder or an archive)"
_PLACES = ("", *TARS, ".zip")  # a folder, or an archive of it; the first is preferred
_BOX, _OLDER = 1281167, 1281149  # training images as published
_CHUNK = 1 << 15  # images averaged at once


def open_imagenet32(
    path: Path | str | None, *, flip: bool = True, cache: Path | str | None = None, resident: Resident = "auto"
) -> Images:
    """ImageNet-32 from the files of either version, packed once and mapped into memory from then on.

    Labels 1 to 1000 become 0 to 999 and keep the order of their authors, which is not that of other copies of ImageNet;
    the classes are named by the authors' numbers. The validation set is the split "test". The provenance tells the
    version, the counts, the means of the channels and a fingerprint of the content.

    Args:
        path: the folder with the files.
        flip: whether the images of a batch are mirrored at random.
        cache: folder for the packed arrays, 3.9 GB; `.flowops` in `path` if None. Packed anew if the files change.
        resident: whether all images are held on the device that trains, as in `Images`.

    Raises:
        OSError: if there is no such folder, or the cache cannot be written.
        ValueError: for missing or unsuitable files, naming them. A pickle that asks for more than arrays is refused
            before anything in it runs.
    """
    check_resident(resident)
    folder = check_folder(path, _WHAT)
    batches = find_batches(folder)
    if batches:
        mark, fill = stamp(file for files in batches.values() for file in files), _from_batches(batches)
    else:
        sources = _find_sources(folder)
        mark, fill = " ".join(source.stamp() for source in sources.values()), _from_images(sources)
    packed = packed_once(place(folder, cache), mark, fill)
    return Images(
        "imagenet32",
        packed.splits,
        classes=packed.classes,
        provenance=packed.provenance,
        flips=flip,
        resident=resident,
    )


def _find_sources(folder: Path) -> dict[str, Source]:
    """The folders or archives of images by split."""
    sources = {}
    for split, stem in (("train", "train_32x32"), ("test", "valid_32x32")):
        found = [folder / (stem + ending) for ending in _PLACES if (folder / (stem + ending)).exists()]
        if found:
            sources[split] = open_source(found[0])
    if "train" not in sources:
        raise ValueError(f"`path` must be {_WHAT}, got {folder}, which holds neither; check what was unpacked where.")
    return sources


def _from_batches(batches: dict[str, list[Path]]) -> Fill:
    def fill(allocate: Allocate) -> Content:
        labels, splits = {}, {}
        for split, files in batches.items():
            parts = [read_labels(file) for file in files]
            labels[split] = np.concatenate(parts)
            array = allocate(split, (len(labels[split]), *_SHAPE))
            start = 0
            for file, part in zip(files, parts, strict=True):
                array[start : start + len(part)] = read_batch(file, len(part)).reshape(-1, *_SHAPE)
                start += len(part)
            splits[split] = Split(torch.from_numpy(array), torch.from_numpy(labels[split]))
        kind = f"box-resized batches ({batches['train'][0].suffix or 'pickled'}), Chrabaszcz et al. 1707.08819"
        return Content(labels, _CLASSES, _provenance(kind, _BOX, splits))

    return fill


def _from_images(sources: dict[str, Source]) -> Fill:
    def fill(allocate: Allocate) -> Content:
        splits = {}
        for split, source in sources.items():
            found = read(source, Layout({split: source.names()}, {}, ()), _SHAPE, allocate)
            splits.update(found)
        return Content({}, (), _provenance("unlabelled images, van den Oord et al. 1601.06759", _OLDER, splits))

    return fill


def _provenance(kind: str, official: int, splits: dict[str, Split]) -> str:
    train = splits["train"]
    total = sum(chunk.sum((0, 2, 3), dtype=torch.int64) for chunk in train.pixels.split(_CHUNK))
    means = " ".join(f"{value:.2f}" for value in (torch.as_tensor(total) / (len(train) * 1024)).tolist())
    whole = "" if len(train) == official else f" (not the {official} of the published set)"
    counts = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    return f"imagenet32: {kind}; {counts} images{whole}; channel means {means}; {fingerprint(splits)}"
