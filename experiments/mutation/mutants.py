"""Mutants: a module of the library with one change, known by its place and its text."""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.mutation.changes import Change, changes

ROOT = Path(__file__).parent.parent.parent
SHORT, ASIDE = 6, 18  # letters of a changed text that is told with its line, and how many on either side


@dataclass(frozen=True)
class Mutant:
    """One changed module.

    Attributes:
        path: the module's file, from the root.
        line: where the change begins.
        kind: what sort of error it is.
        before, after: the changed text.
        start, end: offsets of the changed text in the file's bytes.
        within: the change in its line, where the changed text alone says little or stands in several places.
    """

    path: str
    line: int
    kind: str
    before: str
    after: str
    start: int
    end: int
    within: str = ""

    @property
    def name(self) -> str:
        """Its place and its change in a line."""
        within = f" in `{self.within}`" if self.within else ""
        return f"{self.path}:{self.line} {self.told}{within}"

    @property
    def told(self) -> str:
        """Its change alone."""
        return f"{self.kind}: {_brief(self.before)} → {_brief(self.after)}"

    @property
    def key(self) -> str:
        """What it is known by in records: the same as long as the file is."""
        return hashlib.sha256(f"{self.path}:{self.start}:{self.before}:{self.after}".encode()).hexdigest()[:16]

    @property
    def module(self) -> str:
        """The module's name."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def text(self) -> str:
        """The changed module."""
        source = (ROOT / self.path).read_bytes()
        return (source[: self.start] + self.after.encode() + source[self.end :]).decode()


def mutants(path: str) -> list[Mutant]:
    """All of a file, each different from the others and still a module."""
    source = (ROOT / path).read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[tuple[int, int, str], Mutant] = {}
    for change in changes(ast.parse(source)):
        mutant = _mutant(path, source, starts, change)
        if mutant.before != mutant.after:
            found.setdefault((mutant.start, mutant.end, mutant.after), mutant)
    alike = Counter(mutant.told for mutant in found.values())
    return [m if len(m.before) < SHORT or alike[m.told] > 1 else replace(m, within="") for m in found.values()]


def _mutant(path: str, source: bytes, starts: list[int], change: Change) -> Mutant:
    node = change.node
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
    after = ast.unparse(ast.fix_missing_locations(change.new))
    if isinstance(change.new, ast.expr) and not isinstance(change.new, ast.Name | ast.Constant):
        after = f"({after})"
    line_end = source.find(b"\n", end)
    left, right = source[starts[node.lineno - 1] : start].decode(), source[end:line_end].decode()
    within = f"{left.lstrip()[-ASIDE:]}{after}{right.partition('  #')[0][:ASIDE]}"
    return Mutant(path, node.lineno, change.kind, source[start:end].decode(), after, start, end, within)


def drawn(candidates: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """`count` of them in an order that the seed gives; a larger count has the smaller one at its beginning."""
    return sorted(candidates, key=lambda m: hashlib.sha256(f"{seed}:{m.key}".encode()).digest())[:count]


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return f"`{line}`" if len(line) <= 70 else f"`{line[:67]}…`"
