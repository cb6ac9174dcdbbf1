"""Samplers beside each other: what the table compares is what it says."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from experiments.adaptive_sampling import HEADS, MIXTURE, Bent, at_equal_calls, main
from flowops.maps import SolverStep
from tests.examples import normal

pytest.importorskip("matplotlib")


def test_the_bent_map_is_wrong_in_one_place_and_has_the_same_diagonal() -> None:
    exact, x = SolverStep(MIXTURE.b, "rk4", 2), normal(4, 2)
    bent = Bent(exact, (-0.5, 0.7))
    far = x + 20
    assert_close(bent(0.1, 0.9, far), exact(0.1, 0.9, far))
    near = torch.tensor([[-0.5, 0.7]]).double()
    assert_close(bent(0.1, 0.9, near) - exact(0.1, 0.9, near), torch.full_like(near, 0.32))
    assert_close(bent.velocity()(0.3, near), MIXTURE.b(0.3, near))


def test_errors_between_two_numbers_of_steps_lie_on_a_line_of_logarithms() -> None:
    assert at_equal_calls(4, {2: 1.0, 8: 0.01}) == pytest.approx(0.1)
    assert at_equal_calls(8, {2: 1.0, 8: 0.01}) == pytest.approx(0.01)
    assert math.isclose(at_equal_calls(1, {1: 3.0, 2: 1.0}), 3.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_page_has_every_table_and_its_picture(tmp_path: Path) -> None:
    main(["--quick", "--write", str(tmp_path / "page.md")])
    page = (tmp_path / "page.md").read_text()
    assert all(f"## {title}" in page for title in ("Calibrated", "To a tolerance", *HEADS))
    calibrated, others = page.split("## To a tolerance")
    assert "| checkerboard | 0.3 | 1 step | 1.0 |" in calibrated
    assert others.count("| checkerboard |") == 3 * 5 + 5 + 4 + 4 + 3
    assert (tmp_path / "page.png").is_file()
