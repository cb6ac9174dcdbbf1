"""Densities in closed form: those of the flow are those of its field, those of another map are off by its error."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField
from flowops.evaluation.report import Figure, Paragraph, Table
from flowops.evaluation.report.densities import density_section
from flowops.evaluation.report.observed import Observed
from flowops.evaluation.report.plan import scaled_normal
from flowops.fields.likelihood import base_log_prob
from tests.examples import normal, over

GROWTH = VelocityField.from_function(lambda _, x: x)
EXACT = FlowMap.from_function(lambda s, t, x: x * over(torch.exp(t - s), x))
EULER = FlowMap.from_function(lambda s, t, x: x * over(1 + t - s, x))


def base(x: Tensor) -> Tensor:
    return base_log_prob(None, x)


def told(X: FlowMap, x: Tensor) -> tuple[dict[str, list[str]], Figure]:
    _, table, figure = density_section(Observed(X, GROWTH, x, log_base=base)).parts
    assert isinstance(table, Table)
    assert isinstance(figure, Figure)
    return {row[0]: list(row[1:]) for row in table.rows}, figure


def test_of_the_flow_itself_both_ways_agree() -> None:
    x = normal(10, 2)
    rows, _ = told(EXACT, x)
    expected = float((base(x) - 2).mean())
    for steps in ("1 step", "2 steps", "4 steps"):
        by_map, by_field, off, largest = map(float, rows[steps][:4])
        assert by_map == pytest.approx(expected, abs=1e-3)
        assert by_field == pytest.approx(expected, abs=1e-2)
        assert max(off, largest) < 1e-2
        assert float(rows[steps][4]) == pytest.approx(-expected / (2 * math.log(2)), rel=0.01)
        assert rows[steps][5] == "10 of 10"


def test_of_another_map_they_are_off_by_what_they_should_be() -> None:
    x = normal(10, 2)
    rows, figure = told(EULER, x)
    for k in (1, 2, 4):
        factor = (1 + 1 / k) ** k
        by_map, by_field = base(x) - 2 * math.log(factor), base(x * factor / math.e) - 2
        data = figure.data[str(k)]
        torch.testing.assert_close(torch.tensor(data["map"]).double(), by_map, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(torch.tensor(data["field"]).double(), by_field, rtol=1e-3, atol=1e-3)
        off = float(rows[f"{k} step{'s' * (k > 1)}"][2])
        assert off == pytest.approx(float((by_map - by_field).abs().mean()), rel=0.02)
    assert float(rows["1 step"][2]) > 2 * float(rows["4 steps"][2])


def test_what_has_no_density_is_counted() -> None:
    flat = FlowMap.from_function(lambda s, t, x: torch.where((x[:, :1] > 0) & over(t > s, x), x * 0 + 1, x))
    rows, _ = told(flat, torch.tensor([[1.0, 0.5], [-1.0, 0.5], [-2.0, 1.0]], dtype=torch.float64))
    assert rows["1 step"][5] == "2 of 3"


@pytest.mark.parametrize(
    ("event", "known", "said"), [((2,), False, "is not known"), ((3, 16, 16), True, "more than 256 numbers")]
)
def test_without_a_density_a_sentence_says_why(event: tuple[int, ...], known: bool, said: str) -> None:
    observed = Observed(EXACT, GROWTH, normal(2, *event), log_base=base if known else None)
    (part,) = density_section(observed).parts
    assert isinstance(part, Paragraph)
    assert said in part.text


def test_the_law_of_base_states_is_scaled_as_they_are() -> None:
    x = normal(5, 3)
    law = torch.distributions.Normal(0.0, 0.5)
    torch.testing.assert_close(scaled_normal(0.5, x), law.log_prob(x).sum(1))
