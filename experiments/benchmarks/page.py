"""How a benchmark is written down: a table, the line that says where it was measured, a page, and its headline."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

from flowops._files import write_text

PEERS = ("jax", "optax", "diffrax", "torchode", "torchdiffeq", "torchcfm", "flow_matching")
"""What a benchmark may be compared with."""


class Headline(NamedTuple):
    """A line of the index: what was measured, the number, and what is wanted of it (nothing where nothing is)."""

    what: str
    number: str
    wanted: str = ""


def installed(name: str) -> bool:
    """Whether a peer can be imported."""
    return importlib.util.find_spec(name) is not None


def left_out(names: Iterable[str]) -> list[str]:
    """A line for each of these peers that is not installed."""
    missing = [name for name in names if not installed(name)]
    return [
        f"{name} is not installed and is left out; pip install 'flowops[benchmarks]' brings it." for name in missing
    ]


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown.

    Raises:
        ValueError: for a row of another length than the head.
    """
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"`rows` must have {len(head)} cells each, got {len(row)}; mend the row {row!r}.")
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)


def about(*more: str, peers: Iterable[str] = (), threads: str = "") -> str:
    """Where and with what a page was measured, in a line that names no date and no machine.

    Args:
        more: what comes first, such as sizes and rounds.
        peers: the libraries whose versions are told.
        threads: numbers of threads, where processes of their own measured; else that of this one.
    """
    versions = [f"{name} {_version(name)}" for name in ("torch", *peers) if installed(name)]
    cpu = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = f"{threads or torch.get_num_threads()} of {cores} cores of {cpu}"
    return f"{', '.join([*more, f'Python {platform.python_version()}', *versions, used])}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "of an unknown version"


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The arguments of every benchmark: where its page and its headline go."""
    found = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    found.add_argument("--quick", action="store_true", help="all of it at a tiny size, to see that it runs")
    found.add_argument("--write", type=Path, help="a Markdown file, beside which its pictures go; else the terminal")
    found.add_argument("--headline", type=Path, help="a JSON file for the lines of the index")
    return found


def publish(
    args: argparse.Namespace, title: str, doc: str | None, parts: Sequence[str], headline: Sequence[Headline]
) -> str:
    """The page: title, what the docstring says below its command, the parts; written where the arguments say."""
    text = "\n\n".join([f"# {title}", (doc or "").split("\n\n", 2)[2].strip(), *parts]) + "\n"
    if args.write:
        write_text(args.write, text)
    else:
        print(text)
    if args.headline:
        write_text(args.headline, json.dumps(headline))
    return text
