"""One of each is added to a copy of the library, in one file or two, and is then found by its name everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
AT_END = ""
# What is added, by kind: into which file, after which line, what. A new file is made where there is none.
ADDED: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "schedule": (
        (
            "flowops/interpolants/schedules.py",
            AT_END,
            '''

@_schedule
def quadratic() -> Interpolant:
    """Base and data exchanged along parabolas."""
    return Interpolant.from_expressions("(1-t)**2", "1-(1-t)**2", name="quadratic")
''',
        ),
    ),
    "row": (
        (
            "flowops/methods/rows/matching.py",
            AT_END,
            """
late_fm = row(
    "late-fm",
    Term(residual=tangent, velocity=CONDITIONAL, law=Diagonal(Uniform(0.5, 1.0)), middle=on_diagonal),
    source="these tests",
    summary="Flow matching on the second half of the interval.",
)
""",
        ),
        ("flowops/methods/rows/matching.py", "from flowops.times import", "from flowops.times import Uniform\n"),
    ),
    "network": (
        (
            "flowops/networks/affine.py",
            AT_END,
            '''"""A network for these tests."""

import torch
from torch import Tensor, nn


class Affine(nn.Module):
    """A matrix and a scale."""

    def __init__(self, event: tuple[int, ...], *, gain: float = 1.0) -> None:
        super().__init__()
        self.gain, self.matrix = gain, nn.Parameter(torch.eye(event[0]))

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return self.gain * x @ self.matrix
''',
        ),
        ("flowops/networks/__init__.py", "from flowops.networks.audit", "from flowops.networks.affine import Affine\n"),
        ("flowops/networks/__init__.py", "NETWORKS: Registry", '        "affine": Affine,\n'),
    ),
    "data set": (
        (
            "flowops/data/toys.py",
            AT_END,
            '''

def ring() -> Toy:
    """Uniform on a circle."""

    def draw(n: int, source: torch.Generator) -> tuple[Tensor, None]:
        return _polar(torch.full((n,), 0.8), 2 * math.pi * torch.rand(n, generator=source)), None

    return Toy("ring", draw)
''',
        ),
        ("flowops/data/registry.py", "ENTRIES: dict", '    "ring": Entry(toys.ring, "a circle"),\n'),
    ),
    "metric": (
        (
            "flowops/evaluation/measures.py",
            "OF_POINTS: Mapping",
            '    "mean shift": lambda data: lambda x: float((x.mean(0) - data.mean(0)).norm()),\n',
        ),
    ),
    "coupling": (
        (
            "flowops/couplings/coupling.py",
            AT_END,
            '''

class Reversed(Coupling):
    """The last with the first."""

    def partners(self, samples: Samples, generator: torch.Generator | None) -> Tensor | None:
        return torch.arange(len(samples.x0), device=samples.x0.device).flip(0)
''',
        ),
        ("flowops/couplings/__init__.py", "from flowops._named", "from flowops.couplings.coupling import Reversed\n"),
        ("flowops/couplings/__init__.py", "COUPLINGS: Registry", '        "reversed": Reversed,\n'),
    ),
    "problem with a closed map": (
        (
            "flowops/problems/shear.py",
            AT_END,
            '''"""A shear of the plane: x' = (y, 0)."""

import torch
from torch import Tensor

from flowops.fields import VelocityField
from flowops.maps import FlowMap
from flowops.problems.problem import Problem


class ShearField(VelocityField):
    """(y, 0)."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.stack([x[:, 1], torch.zeros_like(x[:, 1])], 1)


class ShearMap(FlowMap):
    """The first coordinate moves by (t - s) y."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return x + torch.stack([(t - s) * x[:, 1], torch.zeros_like(x[:, 1])], 1)


def shear() -> Problem[ShearField, ShearMap]:
    """The shear."""

    def base(n: int, source: torch.Generator | None, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.randn(n, 2, generator=source, dtype=dtype, device=device)

    return Problem("shear", ShearField(), ShearMap(), None, torch.Size([2]), base)
''',
        ),
        ("flowops/problems/reference.py", "REFERENCE: Mapping", '        "shear": lambda _: shear(),\n'),
        (
            "flowops/problems/reference.py",
            "from flowops.problems.rotation",
            "from flowops.problems.shear import shear\n",
        ),
    ),
    "parameterization": (
        (
            "flowops/maps/parameterization.py",
            AT_END,
            '''

class Scaled(Parameterization):
    """A multiple of the network."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, network: Network, s: Times, t: Times, x: State) -> State:
        return self.factor * network(s, t, x)


PARAMETERIZATIONS.add("scaled", Scaled)
''',
        ),
    ),
    "logger": (
        (
            "flowops/training/loggers/text.py",
            AT_END,
            '''"""Losses as lines."""

from collections.abc import Mapping

from flowops.training.loggers.logger import Logger, RunStart


class TextLogger(Logger):
    """A line for each row in `losses.txt` of a run."""

    def begin(self, start: RunStart) -> None:
        self.path = start.folder.path / "losses.txt"

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(f"{step} {values['loss']}\\n")
''',
        ),
        (
            "flowops/training/loggers/__init__.py",
            "from flowops.training.loggers.trackio",
            "from flowops.training.loggers.text import TextLogger\n",
        ),
        ("flowops/training/loggers/__init__.py", "LOGGERS: Registry", '        "text": TextLogger,\n'),
    ),
    "command": (
        (
            "flowops/cli/hello.py",
            AT_END,
            '''"""`flowops hello`."""

from flowops.cli.console import to_stdout


def run(args: list[str]) -> int:
    """Greet."""
    to_stdout("hello " + " ".join(args))
    return 0
''',
        ),
        ("flowops/cli/main.py", "COMMANDS: dict", '    "hello": "greet",\n'),
    ),
    "theory check": (
        (
            "theory_checks/test_the_field_of_a_map_is_finite.py",
            AT_END,
            '''r"""The field of an exact map is finite.

Source: these tests.
"""


def test_it_is_finite(case, check):
    x = case.states(4, 0)
    check.vanishes((~case.X.velocity()(0.5, x).isfinite()).double(), 1e-9)
''',
        ),
    ),
}
PROGRAM = """
import json

import torch

from flowops import LearnedMap, interpolants, problems
from flowops.cli import main
from flowops.methods import METHODS

words = ["train", "ring", "--method", "late-fm", "--network", "affine", "--network.options", "gain=0.5"]
words += ["--network.parameterization", "scaled", "--coupling", "reversed", "--interpolant", "quadratic"]
words += ["--steps", "2", "--batch", "8", "--checkpoint-every", "0", "--log.no-progress", "--out", "run"]
words += ["--log.to", "csv", "text"]
found = {"train": main(words)}
words = ["evaluate", "run", "--n", "50", "--steps", "1", "--solver", "heun", "--solver-steps", "2"]
found["evaluate"] = main(words), "mean shift" in open("run/evaluation.md").read()
found["logger"] = len(open("run/losses.txt").readlines())
found["hello"] = main(["hello", "reader"])
found["schedule"] = list(interpolants.NAMED)
found["row"] = list(METHODS)
found["problem"] = list(problems.REFERENCE)
print("\\n" + json.dumps(found))
"""


def added(text: str, anchor: str, piece: str) -> str:
    """`text` with a piece after the line that begins with `anchor`, before the import that does, or at its end."""
    if anchor == AT_END:
        return text + piece
    lines = text.splitlines(keepends=True)
    at = next(k for k, line in enumerate(lines) if line.startswith(anchor))
    if anchor.startswith("from "):
        return "".join([*lines[:at], piece, *lines[at:]])
    while "{" not in lines[at]:
        at += 1
    return "".join([*lines[: at + 1], piece, *lines[at + 1 :]])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the library and of the theory checks with all of it."""
    folder = tmp_path_factory.mktemp("extended")
    for name in ("flowops", "theory_checks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for pieces in ADDED.values():
        for name, anchor, piece in pieces:
            file = folder / name
            file.write_text(added(file.read_text() if file.is_file() else "", anchor, piece))
    return folder


def run(folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("kind", ADDED)
def test_it_touches_two_files_at_most(kind: str) -> None:
    assert 1 <= len({name for name, _, _ in ADDED[kind]}) <= 2


@pytest.mark.slow
def test_what_was_added_is_found_by_name(library: Path) -> None:
    printed = run(library, "-c", PROGRAM)
    found = json.loads(printed.splitlines()[-1])
    assert "hello reader" in printed
    assert (found["train"], found["evaluate"], found["hello"]) == (0, [0, True], 0)
    assert found["logger"] == 2
    assert "quadratic" in found["schedule"]
    assert "late-fm" in found["row"]
    assert "shear" in found["problem"]


@pytest.mark.slow
def test_a_theory_check_runs_over_the_problem_that_was_added(library: Path) -> None:
    options = ["-q", "-n", "0", "-p", "no:cacheprovider", "-k", "shear"]
    printed = run(library, "-m", "pytest", "theory_checks/test_the_field_of_a_map_is_finite.py", *options)
    assert "1 passed" in printed
    printed = run(library, "-m", "pytest", "theory_checks/test_identity.py", *options)
    assert "passed" in printed
