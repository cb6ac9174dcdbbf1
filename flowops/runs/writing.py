"""Many samples of a run on disk: as one file, or one picture each, written as they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from flowops._arguments import whole
from flowops._keys import content_hash
from flowops.pictures import PictureFolder, is_image, open_archive
from flowops.pictures.archive import Add
from flowops.runs.processes import collected, on_first, rank, ranks, told
from flowops.runs.run import Run
from flowops.sampling import Drawn, blocks, chunk_size, conditions_of, labels_of


@dataclass(frozen=True)
class Written:
    """Samples on disk.

    Attributes:
        sampler: what made them, in words; empty where all were there.
        drawn: how many were drawn now.
        calls: evaluations of the network for each of these.
        seconds: wall time for them, without that of their noise and their files.
    """

    sampler: str
    drawn: int
    calls: float
    seconds: float


def write_samples(
    run: Run,
    path: Path | str,
    n: int,
    *,
    label: int | Sequence[int] | None = None,
    guidance: float | None = None,
    condition: Tensor | None = None,
    chunk: int | None = None,
    report: Callable[[int], None] | None = None,
    **way: Any,
) -> Written:
    """Write the first `n` samples of a seed, with no more than a chunk of them in memory.

    In a file `.npz` images are uint8 `[n, height, width, channels]` under `arr_0`, as ADM's evaluator reads them, and
    their labels int64 under `arr_1`; other samples are float32 `[n, *event]` in the units of the data, as of
    `Run.restored`. Any other path is a folder of images, one
    PNG file for each number, as torch-fidelity and clean-fid read it. Pictures that are there are kept if the file
    samples.json beside them says that they have the same weights, sampler, seed, labels and precision: a call that was
    interrupted is given again. Without a label, sample i has the class i modulo their number.

    Where there are several processes, each of them must call this: they draw in turn, and the first one writes.

    Args:
        run: the run; `Run.on` says where and how it computes.
        path: the file or the folder.
        n: how many.
        label: a class or one per sample; None for all classes in turn.
        guidance: scale of classifier-free guidance.
        condition: in place of a label, as in `Run.sample`.
        chunk: samples computed at once; None for as many as `chunk_size` says.
        report: is told after every chunk how many are there, on the first process.
        **way: the sampler and the seed, as in `Run.draw`.

    Raises:
        ValueError, TypeError: as `Run.draw`; for a folder of samples that are no images, or one that holds other things
            or more than `n` pictures; and for images that are not finite.
        OSError: if they cannot be written; a file is then as it was, a folder keeps the pictures that are whole.
    """
    path, size = Path(path), chunk_size(run.event, chunk)
    labels = None
    if run.condition is None and condition is None:
        labels = labels_of(whole(n, "n"), run.classes, label, guidance)
    else:
        condition = conditions_of(whole(n, "n"), run.condition, condition, label)
    pixels = is_image(run.event) and run.units.plain
    if path.suffix != ".npz" and not pixels:
        raise ValueError(f"`path` must end in .npz for samples of shape {list(run.event)}, got {path}; rename it.")
    with ExitStack() as stack:
        add, wanted = on_first(lambda: _target(stack, run, path, n, size, label, guidance, condition, way)) or (
            _nothing,
            [],
        )
        lacking: list[range] = told(lambda: wanted)
        sampler, drawn, calls, seconds = "", 0, 0.0, 0.0
        for low in range(0, len(lacking), ranks()):
            mine = lacking[low + rank() : low + rank() + 1]
            parts = collected(partial(_part, run, mine, size, labels, guidance, condition, way))
            told(partial(_write, add, parts, labels))
            made = [(block, each) for part in parts for block, each in part]
            drawn += sum(len(block) for block, _ in made)
            calls += sum(each.calls * len(block) for block, each in made)
            seconds += max((each.seconds for _, each in made), default=0.0)
            sampler = made[0][1].sampler if made else ""
            if report is not None and made:
                report(made[-1][0].stop)
        on_first(stack.close)
    return told(lambda: Written(sampler, drawn, calls / max(drawn, 1), seconds))


def weights_hash(X: nn.Module) -> str:
    """A short name for the parameters and buffers of a map."""
    return content_hash(part for name, value in X.state_dict().items() for part in (name, value.flatten()))


def _target(
    stack: ExitStack,
    run: Run,
    path: Path,
    n: int,
    size: int,
    label: int | Sequence[int] | None,
    guidance: float | None,
    condition: Tensor | None,
    way: dict[str, Any],
) -> tuple[Add, list[range]]:
    """What takes the samples, and which of them it lacks."""
    if path.suffix == ".npz":
        return stack.enter_context(open_archive(path, n, run.event, pixels=run.units.plain)), list(blocks(n, size))
    sampler = {name: value for name, value in way.items() if value is not None and name != "seed"}
    sampler |= {"plan": asdict(way["plan"])} if "plan" in sampler else {}
    settings = {"step": run.step, "weights": weights_hash(run.X), "sampler": sampler, "seed": way.get("seed", 0)}
    settings |= {"label": label, "guidance": guidance, "precision": run.precision}
    settings |= {} if condition is None else {"condition": content_hash([condition])}
    folder = PictureFolder(path, settings)
    if folder.held and max(folder.held) >= n:
        raise ValueError(
            f"`n` must be at least {max(folder.held) + 1}, the number of pictures that {path} holds, got {n}; choose "
            f"another folder."
        )
    lacking = (block for gap in _gaps(folder.held, n) for block in blocks(len(gap), size, gap.start))
    return folder.add, list(lacking)


def _gaps(held: set[int], n: int) -> Iterator[range]:
    """The stretches of numbers below `n` that are not held."""
    ends = [-1, *sorted(held), n]
    return (range(low + 1, high) for low, high in pairwise(ends) if high > low + 1)


def _part(
    run: Run,
    mine: list[range],
    size: int,
    labels: Tensor | None,
    guidance: float | None,
    condition: Tensor | None,
    way: dict[str, Any],
) -> list[tuple[range, Drawn]]:
    """The samples of at most one block, on the CPU."""
    made = []
    for block in mine:
        own = None if labels is None else labels[block.start : block.stop].tolist()
        told = None if condition is None else condition[block.start : block.stop]
        drawn = run.draw(len(block), start=block.start, label=own, guidance=guidance, condition=told, chunk=size, **way)
        made.append((block, replace(drawn, x=run.restored(drawn.x).cpu())))
    return made


def _write(add: Add, parts: list[list[tuple[range, Drawn]]], labels: Tensor | None) -> None:
    for part in parts:
        for block, drawn in part:
            add(block.start, drawn.x, None if labels is None else labels[block.start : block.stop])


def _nothing(first: int, x: Tensor, labels: Tensor | None) -> None:
    """What the other processes do with samples."""
