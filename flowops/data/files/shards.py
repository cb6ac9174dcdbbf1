"""Shards of samples: tar archives in which files of one name and several suffixes are a sample, as of WebDataset."""

from __future__ import annotations

import glob
import itertools
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flowops.data.files.paths import check_present
from flowops.data.files.sources import stamp

_LARGEST = 1 << 28  # bytes of one file; more is no sample, but an archive made to fill the memory
_BLOCK = 512  # of a tar archive
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass
class Index:
    """Where the samples of some shards lie.

    Attributes:
        shards: the archives, in order.
        places: shard, offset and size of the file of each sample, int64 `[n, 3]`.
        labels: whole numbers `[n]`, or None.
        suffix: of the first sample's file, without the dot in front.
        stamp: what changes when the shards do: names, sizes and times.
    """

    shards: list[Path]
    places: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64] | None
    suffix: str
    stamp: str

    def __len__(self) -> int:
        return len(self.places)

    def read(self, row: int) -> tuple[str, bytes]:
        """Where a sample lies, for errors, and the bytes of its file.

        Raises:
            ValueError: if the shard is no longer what it was.
        """
        shard, offset, size = self.places[row].tolist()
        with self.shards[shard].open("rb") as file:
            file.seek(offset)
            content = file.read(size)
        name = f"the file at byte {offset}"
        if len(content) != size:
            raise ValueError(f"`path` must hold whole shards, got {self.shards[shard]}, cut short at {name}; fetch it.")
        return name, content


def index_of(pattern: Path | str | None, suffixes: tuple[str, ...], label: str | None) -> Index:
    """The samples of the shards of a pattern, found by the headers of the archives; their content is not read.

    Args:
        pattern: a path, with numbers in braces, `shard-{000..003}.tar`, words in braces, or stars.
        suffixes: of which each sample has one.
        label: suffix of the files of labels, a whole number in each; None for no labels.

    Raises:
        OSError: if there is nothing.
        ValueError: for a shard that is compressed, damaged or empty, and for samples without file or label.

    Cost: a read of 512 bytes for each file in the shards, and of each label.
    """
    shards = expanded(pattern)
    found: list[tuple[int, int, int]] = []
    labels: list[int | None] = []
    first = ""
    for number, shard in enumerate(shards):
        before = len(found)
        for sample in _samples(shard):
            suffix = next((name for name in suffixes if name in sample.files), None)
            if suffix is None:
                raise ValueError(
                    f"`path` must hold a file .{' or .'.join(suffixes)} for each sample, got "
                    f"{', '.join(f'.{name}' for name in sample.files)} for {sample.key} in {shard}; pass sample=SUFFIX."
                )
            first = first or suffix
            found.append((number, *sample.files[suffix]))
            labels.append(_label(sample, label, shard))
        if len(found) == before:
            raise ValueError(f"`path` must hold shards with samples, got none in {shard}; leave it out.")
    have = sum(number is not None for number in labels)
    if have not in (0, len(labels)):
        row = labels.index(None)
        raise ValueError(
            f"`path` must hold a file .{label} for every sample or for none, got {have} of {len(labels)}, and none for "
            f"sample {row} in {shards[found[row][0]]}; label all, or pass label=none."
        )
    numbers = np.array(labels, np.int64) if have else None
    return Index(shards, np.array(found, np.int64), numbers, first, stamp(shards))


def expanded(pattern: Path | str | None) -> list[Path]:
    """The files of a pattern, each there.

    Raises:
        OSError: for one that is not.
        ValueError: for a folder, and braces that hold no range and no words.
    """
    if pattern is None:
        check_present(None, "a pattern of shards, shard-{000..003}.tar")
    text = str(Path(str(pattern)).expanduser())
    parts = _BRACES.split(text)
    choices = [[part] if k % 2 == 0 else _choices(part, text) for k, part in enumerate(parts)]
    paths: list[Path] = []
    for one in map("".join, itertools.product(*choices)):
        there = sorted(glob.glob(one)) if glob.has_magic(one) else [one]
        paths += [check_present(path, "a shard, or a pattern of shards") for path in there or [one]]
    for path in paths:
        if path.is_dir():
            raise ValueError(f"`path` must be a shard, a .tar file, got the folder {path}; write {path}/*.tar.")
    return paths


def _choices(inside: str, pattern: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        low, high = found.groups()
        if int(low) <= int(high):
            return [str(k).zfill(len(low)) for k in range(int(low), int(high) + 1)]
    elif "," in inside:
        return inside.split(",")
    raise ValueError(f"`path` must hold {{000..003}} or {{a,b}} in its braces, got {pattern}; mend {{{inside}}}.")


@dataclass
class _Sample:
    """Files of one name: offset and size by suffix."""

    key: str
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


def _samples(shard: Path) -> Iterator[_Sample]:
    """The samples of a shard, in order: neighbouring files whose names agree up to the first dot."""
    current: _Sample | None = None
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                folder, slash, base = member.name.rpartition("/")
                key, dot, suffix = base.partition(".")
                if not member.isfile() or not key or not dot or key.startswith("__"):
                    continue
                if member.size > _LARGEST or member.sparse is not None:
                    raise ValueError(
                        f"`path` must hold plain files of at most 256 MB each, got {member.name} in {shard}; remove it."
                    )
                key = f"{folder}{slash}{key}"
                if current is None or current.key != key:
                    if current is not None:
                        yield current
                    current = _Sample(key)
                if suffix.lower() in current.files:
                    raise ValueError(
                        f"`path` must hold every file once, got {member.name} twice in {shard}; remove one."
                    )
                current.files[suffix.lower()] = (member.offset_data, member.size)
            end = archive.offset
        _check_end(shard, end)
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise ValueError(
            f"`path` must hold whole .tar archives that are not compressed, got {shard}: {error}; unpack or fetch it "
            f"again."
        ) from error
    if current is not None:
        yield current


def _check_end(shard: Path, end: int) -> None:
    """Refuse an archive that ends at a damaged header, which the reader takes for its end."""
    with shard.open("rb") as file:
        file.seek(end)
        block = file.read(_BLOCK)
    if block.strip(b"\0"):
        raise tarfile.ReadError(f"a damaged header at byte {end}")


def _label(sample: _Sample, label: str | None, shard: Path) -> int | None:
    if label is None or label not in sample.files:
        return None
    offset, size = sample.files[label]
    with shard.open("rb") as file:
        file.seek(offset)
        text = file.read(min(size, 64)).strip()
    if not text.isdigit():
        raise ValueError(
            f"`path` must hold whole numbers from 0 as labels, got {text[:20]!r} in {sample.key}.{label} in {shard}; "
            f"number the classes."
        )
    return int(text)
