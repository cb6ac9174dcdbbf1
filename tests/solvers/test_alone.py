"""One small sample on the host goes by itself in floats and arrays: the same steps as in company, to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from flowops import SolutionOperator, VelocityField
from flowops._solvers import alone
from flowops._solvers.methods import OWN
from flowops.maps import SolverError
from tests.examples import EVENT_IDS, EVENTS, Coupled, Cubic, mild, normal

METHODS = pytest.mark.parametrize("method", OWN)
LOOSE = dict.fromkeys(OWN, 1e-6) | {"bosh3": 1e-4, "adaptive_heun": 1e-3}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def wave(t: Tensor, x: Tensor) -> Tensor:
    """A pendulum that is pushed."""
    return torch.stack([x[:, 1], torch.sin(3 * t) - torch.sin(x[:, 0])], 1)


def twice(*operands: Any) -> tuple[Any, ...]:
    """A sample beside itself."""
    return tuple(z.expand(2, *z.shape[1:]) if isinstance(z, Tensor) else z for z in operands)


@METHODS
@DTYPES
@pytest.mark.parametrize("way", [(0.0, 9.0), (9.0, 0.0)], ids=["forward", "backward"])
def test_a_sample_alone_takes_the_steps_it_takes_in_company(
    method: str, dtype: torch.dtype, way: tuple[float, float]
) -> None:
    x = torch.tensor([[1.0, 0.0]], dtype=dtype)
    X = SolutionOperator(VelocityField.from_function(wave), method=method, rtol=LOOSE[method], atol=LOOSE[method])
    value, work = X.solve(*way, x)
    beside, other = X.solve(*way, *twice(x))
    near = 1e-9 if dtype == torch.float64 else 1e-4
    assert_close(value, beside[:1], rtol=near, atol=near)
    if dtype == torch.float64:  # a rounding of float32 may turn a rejected step into an accepted one
        for name in ("steps", "rejected", "calls", "stiff", "failed"):
            assert torch.equal(getattr(work, name), getattr(other, name)[:1])


@pytest.mark.parametrize("event", EVENTS, ids=EVENT_IDS)
@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_derivatives_and_paths_follow_the_same_steps(event: tuple[int, ...], method: str) -> None:
    b, x = Coupled(event), mild(1, *event)
    X = SolutionOperator(b, method=method, rtol=1e-7, atol=1e-7)
    assert_close(X.path(0.0, [0.3, 1.0, 0.7], x), X.path(0.0, [0.3, 1.0, 0.7], *twice(x))[:, :1], rtol=1e-9, atol=1e-9)
    t = torch.ones(1).double()
    found = [z.requires_grad_() for z in (x, t)]
    alone_ = torch.autograd.grad(X(0.0, t, x).square().sum(), [*found, b.weight])
    company = torch.autograd.grad(X(0.0, *twice(t, x)).square().sum() / 2, [*found, b.weight])
    for gradient, expected in zip(alone_, company, strict=True):
        assert_close(gradient, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("field", "options"),
    [
        (lambda _, x: x**2, {}),
        (lambda _, x: torch.ones_like(x).masked_fill(x > 3.5, torch.nan), {}),
        (lambda _, x: x + torch.nan, {}),
        (lambda t, x: torch.cos(300 * t)[:, None] + 0 * x, {"max_steps": 5}),
        (lambda t, x: -1e6 * (x - torch.cos(t)[:, None]), {"method": "dopri5"}),
        (lambda _, x: 0.3 - torch.sign(x - 3.1), {"max_steps": 300}),
        (lambda _, x: x**2, {"method": "rodas5p"}),
        (lambda _, x: x + torch.nan, {"method": "rodas5p"}),
    ],
    ids=[
        "blow-up",
        "not finite",
        "never finite",
        "exhausted",
        "stiff",
        "jump",
        "implicit blow-up",
        "implicit never finite",
    ],
)
def test_failures_are_told_alike(field: Any, options: dict[str, Any]) -> None:
    X = SolutionOperator(VelocityField.from_function(field), **{"rtol": 1e-6, "atol": 1e-6} | options)
    said = []
    for x in (torch.tensor([[3.0]]).double(), torch.tensor([[3.0], [3.0]]).double()):
        with pytest.raises(SolverError) as failure:
            X(0.0, 1.0, x)
        said.append(str(failure.value).replace("sample 0 failed ", ""))
    cause = said[0].split(": ", 1)[1]
    assert said[1].endswith(cause)
    place = [text.split("near time ")[1].split(" ")[0] for text in said]
    assert float(place[0]) == pytest.approx(float(place[1]), abs=1e-6)


def test_a_stiff_sample_that_arrives_is_told() -> None:
    b = VelocityField.from_function(lambda t, x: -3000 * (x - torch.cos(t)[:, None]))
    assert SolutionOperator(b, method="dopri5", rtol=1e-6, atol=1e-6).solve(0.0, 1.0, normal(1, 1))[1].stiff.all()


def test_it_steps_alone_only_where_numbers_lie_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    run = alone.Alone.run

    def told(self: alone.Alone, keep: bool, dense: bool) -> None:
        runs.append(len(self.rows))
        run(self, keep, dense)

    monkeypatch.setattr(alone.Alone, "run", told)
    X = SolutionOperator(Cubic(), method="dopri5")
    X(0.0, 1.0, mild(1, 2))
    assert runs == [1]
    X(0.0, 1.0, mild(2, 2))
    X(0.0, 1.0, mild(1, 5000))
    torch.func.jvp(lambda y: X(0.0, 1.0, y), (mild(1, 2),), (mild(1, 2),))
    assert runs == [1]


class Count(TorchDispatchMode):
    """How many operations are dispatched that compute something; arrays share their memory with tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function not in (torch.ops.aten.detach.default, torch.ops.aten.lift_fresh.default)
        return function(*args, **(kwargs or {}))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("method", ["dopri8", "dopri5", "tsit5"])
def test_a_step_takes_few_operations_of_torch_besides_the_field(method: str) -> None:
    """Counted as the difference of a long and a short solve, so that the start cancels."""

    def counted(end: float) -> tuple[int, int]:
        b = VelocityField.from_function(lambda _, x: torch.cos(x))  # one operation
        X = SolutionOperator(b, method=method, rtol=1e-6, atol=1e-6)
        with Count() as mode:
            work = X.solve(0.0, end, x)[1]
        return mode.count - int(work.calls), int(work.steps + work.rejected)

    x = torch.tensor([[0.5]]).double()
    (short, few), (long, many) = counted(3.0), counted(30.0)
    assert many > few + 5
    assert long - short <= 2 * (many - few)
