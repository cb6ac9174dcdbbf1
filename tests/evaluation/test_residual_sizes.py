"""How far a map is from the flow of its own field: sizes of residuals that are known in closed form."""

from __future__ import annotations

import math

import pytest

from flowops.evaluation import residual_sizes
from flowops.runs import Run
from tests.evaluation.closed import of_map

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def test_the_map_of_a_constant_field_has_no_residual(board: Run) -> None:
    sizes = residual_sizes(of_map(board, 0.0, 1.5), 64)
    assert max(sizes.lagrangian, sizes.eulerian, sizes.semigroup) < 1e-6
    assert sizes.velocity == pytest.approx(1.5)


def test_residuals_are_those_of_a_map_in_closed_form(board: Run) -> None:
    r"""$X_{s,t}(x)=x+k(t-s)^2$ has field 0, $\partial_tX=2k(t-s)=-\partial_sX$, and misses $2k(u-s)(t-u)$.

    The gaps of three uniform times are Dirichlet: the mean of $(t-s)^2$ is 3/10, that of $(u-s)^2(t-u)^2$ is 1/210.
    """
    sizes = residual_sizes(of_map(board, 3.0, 0.0), 20_000, chunk=5_000)
    assert sizes.lagrangian == pytest.approx(6 * math.sqrt(3 / 10), rel=0.01)
    assert sizes.eulerian == pytest.approx(sizes.lagrangian, rel=1e-4)
    assert sizes.semigroup == pytest.approx(6 / math.sqrt(210), rel=0.03)
    assert sizes.velocity == 0


@pytest.mark.parametrize("guidance", [None, 20.0])  # the network has hardly learned of labels in two steps
def test_the_chunk_changes_nothing_and_guidance_does(digits: Run, guidance: float | None) -> None:
    whole, cut = (residual_sizes(digits, 6, seed=2, guidance=guidance, chunk=chunk) for chunk in (64, 4))
    for name, value in vars(whole).items():
        assert getattr(cut, name) == pytest.approx(value, rel=1e-4)
    if guidance is not None:
        assert residual_sizes(digits, 6, seed=2).lagrangian != pytest.approx(whole.lagrangian, rel=1e-6)


def test_it_is_a_line_of_markdown(board: Run) -> None:
    line = str(residual_sizes(of_map(board, 0.0, 1.5), 8))
    assert line.startswith("Residuals of the map against its own field (root mean square): Lagrangian ")
    assert "where the velocity is 1.5; semigroup" in line
    assert "\n" not in line
