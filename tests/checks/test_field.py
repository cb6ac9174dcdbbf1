"""Fields that can be solved pass, chaotic and stiff ones too; of wrong ones the first broken equation is named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from experiments.equations import field as equation
from experiments.equations import kepler, lorenz, van_der_pol
from flowops import VelocityField, interpolants, problems
from flowops.checks import Report, check_field
from flowops.checks.draws import draw
from flowops.checks.examination import judge
from flowops.checks.field import Field, continuity, solutions
from tests.examples import normal, over

# The shape checks of every call, which other tests are for, make solves several times slower.
pytestmark = pytest.mark.usefixtures("unchecked")
of = VelocityField.from_function
PENDULUM = of(lambda _, x: torch.stack([x[:, 1], -x[:, 0].sin()], 1))
LAW = problems.gaussian([0.5], 0.3, interpolants.linear())


class Convolution(VelocityField):
    """A small convolutional field of images."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
        self.net = nn.Sequential(*layers).double()

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.net(x) * t.cos()[:, None, None, None]


class WrongRule(VelocityField):
    """A field with a rule for its divergence that is off."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return -x

    def divergence(self, t, x, method="exact", **_):
        return torch.full_like(x[:, 0], 1.0 - x[0].numel())


def names(report: Report) -> list[str]:
    return [v.name for v in report.verdicts]


def test_a_pendulum_passes_and_every_equation_stands_in_the_report() -> None:
    report = check_field(PENDULUM, n=6, horizon=(0.0, 2.0))
    assert report.holds, str(report)
    assert not report.undecided
    known = "Samples Digits Derivatives Solutions Trajectories Identity Tangent Lagrangian Eulerian Semigroup Inverse"
    assert names(report) == [*known.split(), "Liouville"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("b", "event", "horizon"),
    [
        (equation(lorenz), (3,), (0.0, 1.0)),
        (equation(kepler), (4,), (0.0, 1.0)),
        (Convolution(), (3, 8, 8), (0.0, 1.0)),
    ],
    ids=["lorenz", "kepler", "convolution"],
)
def test_what_the_library_solves_passes(b: VelocityField, event: tuple[int, ...], horizon: tuple[float, float]) -> None:
    report = check_field(b, event=event, horizon=horizon)
    assert report.holds, str(report)
    assert not report.undecided, str(report)


@pytest.mark.slow
def test_a_stiff_field_ends_with_verdicts() -> None:
    report = check_field(
        equation(van_der_pol(50.0)), n=8, states=torch.tensor([[2.0, 0.0]]).double() + 0.1 * normal(8, 2)
    )
    assert report.holds, str(report)
    assert {v.name for v in report.undecided} <= {"Inverse", "Liouville"}, str(report)


@pytest.mark.parametrize("rate", [3e3, 1e6])
def test_a_stiff_field_is_solved_implicitly_and_the_report_says_so(rate: float) -> None:
    stiff = of(lambda t, x: -rate * (x - over(t.cos(), x)))
    field = Field(stiff, draw([], (0.0, 1.0), None, (1,), 2, 0), 1e-9, None)
    said = str(Report("it", (judge("Solutions: they exist", "", [solutions(field)], 1e-9),)))
    assert "Solutions: they exist holds (stiff, solved by rodas5p to 1e-08)." in said


def test_trajectories_that_end_are_named_and_the_others_checked() -> None:
    report = check_field(of(lambda _, x: x**2), event=(1,), states=torch.tensor([[0.5], [-1.0], [2.0]]).double())
    solutions = report.undecided[0]
    assert solutions.name == "Solutions"
    assert "1 of 3 trajectories could not be solved: from x = [2.0]" in solutions.reason
    assert "Lagrangian" in [v.name for v in report.verdicts if v.outcome == "holds"]


def of_the_law(n: int, generator: torch.Generator) -> Tensor:
    return LAW.sample(0.5, n, generator=generator, dtype=torch.float64)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 1.001])
def test_a_field_that_does_not_transport_the_law_breaks_continuity(size: float) -> None:
    report = check_field(size * LAW.b, log_density=LAW.log_prob, states=of_the_law, horizon=(0.1, 0.9), n=3)
    broken = report.first_broken
    assert report.holds if size == 1 else broken is not None and broken.name == "Continuity", str(report)


@pytest.mark.parametrize(("pull", "holds"), [(0.0, True), (1.0, False)])
def test_a_law_at_rest_needs_no_time(pull: float, holds: bool) -> None:
    def at_rest(_: Tensor, x: Tensor) -> Tensor:
        return -(x**2).sum(1) / 2 - pull * x[:, 0]

    field = Field(problems.rotation(2.0).b, draw([], (0.0, 1.0), None, (2,), 6, 0), 1e-9, at_rest)
    assert bool((continuity(field).residuals() < 1e-9).all()) is holds


def test_the_residual_of_continuity_scales_with_the_defect() -> None:
    draws = draw([], (0.1, 0.9), of_the_law, (), 6, 0)
    fields = (Field((1 + delta) * LAW.b, draws, 1e-9, LAW.log_prob) for delta in (1e-3, 5e-4))
    whole, half = (float(continuity(field).detached().residuals().max()) for field in fields)
    assert whole / half == pytest.approx(2, rel=0.02)


def test_a_wrong_rule_is_named() -> None:
    broken = check_field(WrongRule(), n=4).first_broken
    assert broken is not None
    assert broken.name == "Derivatives"
    assert broken.place is not None
    assert broken.place.of == "rule divergence"


def test_samples_that_interact_are_named() -> None:
    broken = check_field(of(lambda _, x: -x + 1e-3 * x.mean(0)), n=4, horizon=(0.0, 0.2)).first_broken
    assert broken is not None
    assert broken.name == "Samples"


def test_single_precision_inside_is_named() -> None:
    broken = check_field(of(lambda _, x: -x.float().sin().double()), n=6, horizon=(0.0, 0.2)).first_broken
    assert broken is not None
    assert broken.name == "Digits"


def test_the_states_have_the_precision_of_the_parameters() -> None:
    network = nn.Linear(2, 2)
    report = check_field(of(lambda _, x: network(x)), n=4, states=normal(4, 2).float())
    assert report.holds, str(report)
    held = VelocityField.from_function(network_field := Affine())
    assert next(network_field.parameters()).dtype == torch.float32
    assert check_field(held, n=4).holds


class Affine(nn.Module):
    """A matrix in single precision."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.linear(x)


def test_a_slow_field_ends_when_its_time_is_over() -> None:
    calls = []

    def slow(t: Tensor, x: Tensor) -> Tensor:
        calls.append(len(x))
        return (300 * t).sin()[:, None] * x + sum(x.sin() for _ in range(50)) / 50

    report = check_field(of(slow), seconds=0.5)
    assert report.undecided, str(report)
    assert all("it takes more than" in v.reason for v in report.undecided)
    assert len(calls) < 20_000


def test_what_is_no_field_is_refused() -> None:
    with pytest.raises(TypeError, match="`b` must be a VelocityField"):
        check_field(PENDULUM.flow_map())  # type: ignore[arg-type]
