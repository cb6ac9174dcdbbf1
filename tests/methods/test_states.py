"""States of the user in place of an interpolant and samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import SolutionOperator, VelocityField, interpolants, problems
from flowops.methods import CONDITIONAL, METHODS, InverseSpeed, Term, compared, get_method, row
from flowops.methods.method import follows_a_teacher_alone
from flowops.times import EndpointFixed, LogNoise
from tests.examples import normal
from tests.methods.rows import batch, gradient, learned, teacher_for

TAKING = [name for name, method in METHODS.items() if follows_a_teacher_alone(method)]


def test_which_rows_take_states() -> None:
    assert {"lmd", "emd", "ayf-emd", "ayf-lmd", "pfmm", "regression", "discrete-emd", "discrete-lmd"} <= set(TAKING)
    conditional = row(
        "beside", Term(residual=compared.lagrangian, velocity=CONDITIONAL), teacher="field", source="", summary=""
    )
    assert not follows_a_teacher_alone(conditional)
    assert not {"fm", "fmm", "lsd", "esd", "psd-u", "meanflow", "reflow", "ct", "scm"} & set(TAKING)


@pytest.mark.parametrize("name", TAKING)
def test_states_are_the_start_points(name: str) -> None:
    """They are those of an interpolant that stays where it starts."""
    method, X, x = METHODS[name], learned(), normal(6, 2)
    teacher = teacher_for(method)
    still = interpolants.Interpolant(lambda t: torch.ones_like(t), lambda t: torch.zeros_like(t))
    ours = method(X, None, states=x, teacher=teacher, seed=3)
    theirs = method(X, still, x, x, teacher=teacher, seed=3)
    assert_close(ours.per_sample, theirs.per_sample, rtol=0, atol=0)
    slope = gradient(ours.loss, X)
    assert_close(slope, gradient(theirs.loss, X), rtol=0, atol=0)
    assert slope.abs().max() > 0


@pytest.mark.parametrize("name", ["lmd", "emd", "ayf-emd", "ayf-lmd", "regression"])
@pytest.mark.parametrize("event", [(), (2,), (1, 3, 2)])
def test_the_loss_vanishes_at_the_flow_of_the_field(name: str, event: tuple[int, ...]) -> None:
    b = VelocityField.from_function(lambda t, x: -x * (1 + t).reshape(-1, *[1] * (x.ndim - 1)))
    x = normal(5, *event)
    for method in (METHODS[name], METHODS[name].with_options(inverse=0.5)):
        assert method(SolutionOperator(b), None, states=x, teacher=b, seed=1).loss < 1e-14
    assert METHODS[name](learned(event), None, states=x, teacher=b, seed=1).loss > 1e-3


def test_a_pendulum_and_labels_and_parts() -> None:
    pendulum = problems.pendulum()
    assert pendulum.X is not None
    x = pendulum.sample_base(8, dtype=torch.float64)
    assert METHODS["lmd"](pendulum.X, None, states=x, teacher=pendulum.b, seed=1).loss < 1e-14
    X, labels = learned(), torch.arange(8) % 3
    method = METHODS["emd"]
    draw = method.draw(X, None, states=x, teacher=pendulum.b, labels=labels, seed=2)
    whole = method.evaluate(X, None, draw, teacher=pendulum.b).per_sample
    half = method.evaluate(X, None, draw.part(1, 2), teacher=pendulum.b).per_sample
    assert_close(half, whole[1::2])


@pytest.mark.parametrize(
    ("name", "options", "arguments", "error", "message"),
    [
        ("lsd", {}, {}, ValueError, "`states` must be given to a row that follows a teacher alone, .*, got lsd"),
        ("lmd", {"start": "pushforward"}, {}, ValueError, "`states` must be given to a row that follows a teacher"),
        ("lmd", {}, {"x0": normal(6, 2)}, TypeError, "`x0` must be None beside `states`, got Tensor"),
        ("lmd", {}, {"interpolant": interpolants.linear()}, TypeError, "`interpolant` must be None beside `states`"),
        ("lmd", {}, {"states": None}, TypeError, "`interpolant` must be of type Interpolant, got NoneType"),
        ("lmd", {}, {"states": [1.0]}, TypeError, "`states` must be a torch.Tensor"),
        ("lmd", {"law": EndpointFixed(LogNoise(0.0, 1.0))}, {}, ValueError, "`interpolant` must be given to LogNoise"),
        ("lmd", {"weight": InverseSpeed()}, {}, ValueError, "`interpolant` must be given to what asks for one"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_refused(
    name: str, options: dict[str, Any], arguments: Any, error: type[Exception], message: str
) -> None:
    method, X = get_method(name, **options), learned()
    given = {"interpolant": None, "states": normal(6, 2), "teacher": teacher_for(method)} | arguments
    with pytest.raises(error, match=message):
        method(X, seed=1, **given)


def test_samples_are_called_as_before() -> None:
    method, X, (x0, x1) = METHODS["lmd"], learned(), batch(6)
    teacher = teacher_for(method)
    one = method(X, interpolants.linear(), x0, x1, teacher=teacher, seed=1).loss
    other = method(X, interpolants.linear(), x0=x0, x1=x1, teacher=teacher, seed=1).loss
    assert torch.equal(one, other)
