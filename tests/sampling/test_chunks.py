"""How many samples are computed at once: by the numbers they hold, whatever samples and solvers they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import VelocityField, interpolants
from flowops.sampling import blocks, chunk_size, cost, gamma_sample, noise, restart_sample, sample, solve
from flowops.sampling.baselines import SOLVERS
from tests.examples import over

GRID = [0.0, 0.2, 0.5, 1.0]


@pytest.mark.parametrize(
    ("event", "size"),
    [((3, 32, 32), 682), ((3, 256, 256), 10), ((3, 2048, 2048), 1), ((2,), 16_384), ((1, 8, 8), 16_384), ((), 16_384)],
)
def test_as_many_are_computed_at_once_as_hold_so_many_numbers(event: tuple[int, ...], size: int) -> None:
    assert chunk_size(event) == size
    assert chunk_size(event, 7) == 7
    whole = size * torch.Size(event).numel()
    assert size in (1, 16_384) or whole <= 2**21 < whole + torch.Size(event).numel()


@pytest.mark.parametrize("chunk", [0, -1, 2.0, True])
@pytest.mark.usefixtures("unchecked")
def test_a_chunk_is_a_number_of_samples(chunk: int) -> None:
    with pytest.raises(ValueError, match="`chunk` must be a whole number of at least 1"):
        chunk_size((2,), chunk)


def test_blocks_are_all_numbers_in_their_order() -> None:
    assert list(blocks(7, 3, 10)) == [range(10, 13), range(13, 16), range(16, 17)]
    assert list(blocks(6, 3)) == [range(3), range(3, 6)]
    assert list(blocks(0, 3)) == []


class Labelled(VelocityField):
    """Each sample is pulled to its label; what it is asked for at once is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        self.sizes.append(len(x))
        return over(label, x) - x + over(t, x)


@pytest.mark.parametrize("method", SOLVERS)
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_solvers_keep_to_the_chunk_and_conditions_to_their_samples(
    method: str, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a number it is the elements that decide: four samples of five numbers here."""
    monkeypatch.setattr(cost, "ELEMENTS", 20)
    x0, field = noise(11, (5,), seed=1, dtype=torch.float64), Labelled()
    b = field.given(label=torch.arange(11.0, dtype=torch.float64))
    way = {} if method == "dopri5" else {"grid": GRID}
    schedule = interpolants.linear() if method in ("ddim", "dpm-solver") else None
    whole = solve(b, x0, method, interpolant=schedule, chunk=11, **way)  # type: ignore[arg-type]
    field.sizes.clear()
    cut = solve(b, x0, method, interpolant=schedule, chunk=chunk, **way)  # type: ignore[arg-type]
    assert max(field.sizes) == (chunk or 4)
    exact = method != "dopri5"  # which lets samples that are done leave some at a time
    assert cut.calls == pytest.approx(whole.calls, rel=1e-12 if exact else 0.2)
    assert_close(cut.x, whole.x, rtol=1e-12 if exact else 1e-5, atol=1e-12 if exact else 1e-5)


def test_samplers_of_maps_keep_to_the_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "ELEMENTS", 20)
    I, field = interpolants.linear(), Labelled()
    x0, label = noise(11, (5,), seed=1, dtype=torch.float64), torch.arange(11.0, dtype=torch.float64)
    X = field.flow_map(method="euler", steps=2).given(label=label)
    for draw in (
        lambda chunk: sample(X, x0, GRID, chunk=chunk),
        lambda chunk: gamma_sample(X, I, x0, GRID, 0.5, seed=3, chunk=chunk),
        lambda chunk: restart_sample(X, I, x0, GRID, (0.2, 0.5), 1, seed=3, chunk=chunk),
    ):
        whole = draw(11)
        field.sizes.clear()
        assert_close(draw(None), whole, rtol=1e-12, atol=1e-12)
        assert max(field.sizes) == 4
