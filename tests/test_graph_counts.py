"""No product of a compiled loss has a zero factor, and there are as many of them as there must be.

A count does not depend on the load of a machine: this is where a slower training step is seen first. Of `n` products
in a call of the network a loss and its gradient take `n` forward and `2 n - 1` backward (`n` for convolutions, whose
two gradients are one operator), and a forward derivative as many again, less those that see nothing of what moves.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.programs import run

PROGRAM = """
import json, warnings
warnings.simplefilter("ignore")
from tests.graphs import counted
print(json.dumps({row: counted(row, KIND) for row in ROWS}))
"""
PERCEPTRON = {  # matrix products, forward and backward
    "fm": 8,
    "lsd": 17,
    "esd": 20,
    "emd": 19,
    "lmd": 22,
    "meanflow": 14,
    "imf": 15,
    "scm": 14,
    "psd-m": 13,
}
PLAIN = {  # convolutions, their gradients, matrix products
    "fm": (14, 14, 25),
    "lsd": (54, 40, 45),
    "esd": (66, 40, 48),
    "emd": (42, 28, 59),
    "lmd": (40, 40, 54),
    "meanflow": (42, 28, 41),
    "imf": (54, 28, 41),
    "scm": (42, 14, 43),
    "psd-m": (54, 28, 32),
}
PRESERVING = {
    "fm": (14, 14, 25),
    "lsd": (54, 40, 63),
    "esd": (66, 40, 64),
    "emd": (42, 28, 59),
    "lmd": (40, 40, 54),
    "meanflow": (42, 28, 50),
    "imf": (54, 28, 57),
    "scm": (42, 14, 43),
    "psd-m": (54, 28, 57),
}


def counts(folder: Path, kind: str, *rows: str) -> dict[str, dict[str, int]]:
    """The products of these rows, counted in a process of their own."""
    program = PROGRAM.replace("KIND", repr(kind)).replace("ROWS", repr(rows))
    return json.loads(run(folder, program).splitlines()[-1])


def check_perceptron(folder: Path, *rows: str) -> None:
    """The matrix products of these rows are those of the table."""
    assert counts(folder, "perceptron", *rows) == {row: {"zero": 0, "matrices": PERCEPTRON[row]} for row in rows}


def test_a_derivative_of_a_perceptron_multiplies_no_zeros(tmp_path: Path) -> None:
    check_perceptron(tmp_path, "lsd")


@pytest.mark.slow
def test_no_loss_of_a_perceptron_multiplies_zeros(tmp_path: Path) -> None:
    check_perceptron(tmp_path, *PERCEPTRON)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "table"), [("plain", PLAIN), ("preserving", PRESERVING)])
def test_no_loss_of_a_u_net_multiplies_zeros(tmp_path: Path, kind: str, table: dict[str, tuple[int, int, int]]) -> None:
    names = ("convolutions", "backward", "matrices")
    wanted = {row: {"zero": 0, **dict(zip(names, table[row], strict=True))} for row in table}
    assert counts(tmp_path, kind, *table) == wanted
