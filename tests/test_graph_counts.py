"""No product of a compiled loss has a zero factor, and there are as many of them as there must be.

A count does not depend on the load of a machine: this is where a slower training step is seen first. Of `n` products
in a call of the network a loss and its gradient take `n` forward and `2 n - 1` backward (`n` for convolutions, whose
two gradients are one operator), and a forward derivative as many again, less those that see nothing of what moves.
`test_zero_products.py` counts those of uncompiled losses, at every run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.programs import run

PROGRAM = """
import json, warnings
warnings.simplefilter("ignore")
from tests.graphs import counted
print(json.dumps({kind: {row: counted(row, kind) for row in ROWS} for kind in KINDS}))
"""
# Of a perceptron matrix products; of U-Nets convolutions, their gradients, matrix products of the two kinds.
WANTED: dict[str, tuple[int, ...]] = {
    "fm": (8,),
    "lsd": (17, 54, 40, 45, 63),
    "esd": (20,),
    "emd": (19,),
    "lmd": (22,),
    "meanflow": (14, 42, 28, 41, 50),
    "imf": (15,),
    "trapezoid": (19,),
    "scm": (14,),
    "psd-m": (13,),
}


def check(folder: Path, kinds: Sequence[str], *rows: str) -> None:
    """The products of these rows, counted in a process of their own, are those of the table."""
    program = PROGRAM.replace("KINDS", repr(kinds)).replace("ROWS", repr(rows))
    found = json.loads(run(folder, program).splitlines()[-1])
    assert found == {kind: {row: wanted(row, kind) for row in rows} for kind in kinds}


def wanted(row: str, kind: str) -> dict[str, int]:
    """The counts of a row, none of them with a zero factor."""
    if kind == "perceptron":
        return {"zero": 0, "matrices": WANTED[row][0]}
    _, convolutions, backward, plain, preserving = WANTED[row]
    matrices = plain if kind == "plain" else preserving
    return {"zero": 0, "convolutions": convolutions, "backward": backward, "matrices": matrices}


@pytest.mark.slow
def test_a_derivative_of_a_perceptron_multiplies_no_zeros(tmp_path: Path) -> None:
    check(tmp_path, ["perceptron"], "lsd")


@pytest.mark.slow
def test_no_loss_of_a_perceptron_multiplies_zeros(tmp_path: Path) -> None:
    check(tmp_path, ["perceptron"], *WANTED)


@pytest.mark.slow
def test_no_loss_of_a_u_net_multiplies_zeros(tmp_path: Path) -> None:
    check(tmp_path, ["plain", "preserving"], "lsd", "meanflow")  # in the time alone, and along the field
