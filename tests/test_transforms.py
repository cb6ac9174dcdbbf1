"""Operators inside `torch.func` transforms; compiled and distributed in a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp, vjp, vmap
from torch.testing import assert_close

from flowops import FlowMap, LearnedMap, SolutionOperator, VelocityField, guided, reschedule
from flowops.fields import FrozenField
from flowops.interpolants import linear, trigonometric
from flowops.maps import (
    DifferencedMap,
    EDMPreconditioning,
    FrozenMap,
    GuidedMap,
    SecondOrder,
    SolverStep,
    StagedMap,
)
from tests.examples import Coupled, Cubic, CubicFlow, TwoTimeNetwork, central_difference, mild, normal, uniform
from tests.programs import run

MAPS: dict[str, Callable[[], FlowMap]] = {
    "a closed form": CubicFlow,
    "fixed steps": lambda: SolutionOperator(Coupled((2,)), method="rk4", steps=4),
    "a learned map": lambda: LearnedMap(TwoTimeNetwork((2,))),
    "a second-order map": lambda: LearnedMap(TwoTimeNetwork((2,)), SecondOrder(Coupled((2,)))),
    "a preconditioned map": lambda: LearnedMap(TwoTimeNetwork((2,)), EDMPreconditioning(linear())),
    "one step of a solver": lambda: SolverStep(Coupled((2,)), "heun"),
    "a guided map": lambda: GuidedMap(CubicFlow(), LearnedMap(TwoTimeNetwork((2,))), 1.5),
    "a map of two stages": lambda: StagedMap(CubicFlow(), LearnedMap(TwoTimeNetwork((2,))), 0.5),
    "a differenced map": lambda: DifferencedMap(LearnedMap(TwoTimeNetwork((2,)))),
    "a frozen map": lambda: FrozenMap(LearnedMap(TwoTimeNetwork((2,)))),
    "a rescheduled map": lambda: reschedule(LearnedMap(TwoTimeNetwork((2,))), linear(), trigonometric()),
}
FIELDS: dict[str, Callable[[], VelocityField]] = {
    "a field": lambda: Coupled((2,)),
    "an algebra": lambda: (2.0 * Cubic() - Coupled((2,))).reversed(),
    "a frozen field": lambda: FrozenField(Coupled((2,))),
    "guidance": lambda: guided(Cubic(), Coupled((2,)), 1.5),
    "an implied field": lambda: CubicFlow().velocity(),
    "the field of a learned map": lambda: LearnedMap(TwoTimeNetwork((2,))).velocity(),
    "a rescheduled field": lambda: reschedule(Coupled((2,)), linear(), trigonometric()),
}
maps = pytest.mark.parametrize("make", MAPS.values(), ids=list(MAPS))
fields = pytest.mark.parametrize("make", FIELDS.values(), ids=list(FIELDS))


def inside(n: int, seed: int = 0) -> Tensor:
    """Times away from the ends."""
    return 0.1 + 0.8 * uniform(n, seed=seed)


@maps
def test_maps_of_one_sample_each_under_vmap(make: Callable[[], FlowMap]) -> None:
    X, s, t, x = make(), inside(5), inside(5, 1), mild(5, 2)
    for method in (X, X.dt, X.ds, X.average_velocity):
        alone = vmap(lambda s, t, x, f=method: f(s[None], t[None], x[None])[0])(s, t, x)
        assert_close(alone, method(s, t, x))
        assert_close(vmap(lambda s, t, x, f=method: f(s, t, x[None])[0])(s, t, x), method(s, t, x))
    assert_close(vmap(lambda s, t, x: X.log_abs_det(s, t, x[None])[0])(s, t, x), X.log_abs_det(s, t, x))


@fields
def test_fields_of_one_sample_each_under_vmap(make: Callable[[], VelocityField]) -> None:
    b, t, x = make(), inside(5), mild(5, 2)
    for method in (b, b.dt):
        assert_close(vmap(lambda t, x, f=method: f(t, x[None])[0])(t, x), method(t, x))
    assert_close(vmap(lambda t, x: b.divergence(t, x[None])[0])(t, x), b.divergence(t, x))


@maps
def test_a_batch_of_batches_of_states(make: Callable[[], FlowMap]) -> None:
    X, x = make(), mild(3, 4, 2)
    together = vmap(lambda y: X(0.2, 0.7, y))(x)
    assert_close(together, torch.stack([X(0.2, 0.7, y) for y in x]))


@maps
def test_forward_mode_through_a_map(make: Callable[[], FlowMap]) -> None:
    X = make().requires_grad_(False)
    s, t, x = inside(4), inside(4, 1), mild(4, 2)
    tangents = normal(4, seed=2), normal(4, seed=3), normal(4, 2, seed=4)
    value, derivative = jvp(X, (s, t, x), tangents)[:2]
    assert_close(value, X(s, t, x))
    along = lambda h: X(s + h * tangents[0], t + h * tangents[1], x + h * tangents[2])  # noqa: E731
    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    assert_close(derivative, central_difference(along, zero, one, 1e-3), rtol=1e-7, atol=1e-7)
    parts = X.ds(s, t, x) * tangents[0][:, None] + X.dt(s, t, x) * tangents[1][:, None] + X.jvp(s, t, x, tangents[2])
    assert_close(derivative, parts, rtol=1e-3 if isinstance(X, SolutionOperator) else 1e-7, atol=1e-4)


@fields
def test_forward_mode_through_a_field(make: Callable[[], VelocityField]) -> None:
    b = make().requires_grad_(False)
    t, x, dt, dx = inside(4), mild(4, 2), normal(4, seed=2), normal(4, 2, seed=3)
    value, derivative = jvp(b, (t, x), (dt, dx))[:2]
    assert_close(value, b(t, x))
    assert_close(derivative, b.dt(t, x) * dt[:, None] + b.jvp(t, x, dx))


@maps
def test_reverse_mode_and_nesting(make: Callable[[], FlowMap]) -> None:
    X, s, t, x, w = make().requires_grad_(False), inside(3), inside(3, 1), mild(3, 2), normal(3, 2, seed=5)
    pull = vjp(lambda y: X(s, t, y), x)[1]
    exact = not isinstance(X, SolutionOperator)  # whose vjp is the adjoint equation, solved in its own steps
    assert_close(pull(w)[0], X.vjp(s, t, x, w), rtol=1e-7 if exact else 1e-3, atol=1e-7 if exact else 1e-4)
    J = vmap(jacrev(lambda s, t, y: X(s, t, y[None])[0], argnums=2))(s, t, x)
    assert_close(J, X.jacobian(s, t, x), rtol=1e-7 if exact else 1e-3, atol=1e-7 if exact else 1e-4)
    slope = grad(lambda q: X.dt(s, q, x).sum())(t)
    difference = central_difference(lambda q: X.dt(s, q, x), t, torch.ones_like(t), 1e-4).sum(1)
    assert_close(slope, difference, rtol=1e-6, atol=1e-6)


def test_an_adaptive_solve_per_sample_is_a_batched_solve_not_a_vmap() -> None:
    """What the documentation says of adaptive methods: they refuse `vmap` in words, and forward mode is right."""
    X, x = SolutionOperator(Cubic()), mild(3, 2)
    with pytest.raises(
        RuntimeError, match="works in no `vmap`; make the axis a part of the batch, or use a fixed-step"
    ):
        vmap(lambda y: X(0.0, 1.0, y[None])[0])(x)
    found, exact = (jvp(lambda y, Y=Y: Y(0.0, 1.0, y), (x,), (x,)) for Y in (X, CubicFlow()))
    assert_close(found, exact, rtol=1e-8, atol=1e-8)


COMPILED = """
import torch
from torch import nn
from flowops import LearnedMap, SolutionOperator, VelocityField

torch.manual_seed(0)


class Field(VelocityField):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, t, x):
        return self.layers(torch.cat([x, t[:, None]], 1))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, s, t, x):
        return self.layers(torch.cat([x, s[:, None], t[:, None]], 1))


b, X = Field(), LearnedMap(Network())
rk4 = SolutionOperator(b, method="rk4", steps=2)
s, t, x, u = torch.rand(6), torch.rand(6), torch.randn(6, 2), torch.randn(6, 2)


def check(name, f, *operands, parameters=()):
    compiled = torch.compile(f, fullgraph=True)
    flat = lambda value: value if isinstance(value, tuple) else (value,)
    for one, other in zip(flat(f(*operands)), flat(compiled(*operands)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=lambda m: f"{name}: {m}")
    if parameters:
        expected = torch.autograd.grad(sum(v.sum() for v in flat(f(*operands))), parameters)
        found = torch.autograd.grad(sum(v.sum() for v in flat(compiled(*operands))), parameters)
        for one, other in zip(expected, found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda m: f"{name}, gradient: {m}")
    print("compiled", name, flush=True)


network = [p for name, p in X.named_parameters() if not name.endswith("4.bias")]  # in no tangent
check("a field", lambda t, x: (b(t, x), b(0.5, x)), t, x, parameters=list(b.parameters()))
check("its derivatives", lambda t, x, u: (b.jvp(t, x, u), b.divergence(t, x)), t, x, u)
check("fixed steps", lambda s, t, x: rk4(s, t, x), s, t, x, parameters=list(b.parameters()))
with torch._inductor.config.patch(allow_buffer_reuse=False):  # else its backward meets "ZeroTensors are immutable"
    check("the value and slope of a learned map", X.value_and_dt, s, t, x, parameters=list(X.parameters()))
    check("its material derivative", X.material_derivative, s, t, x, u, parameters=network)
"""

DISTRIBUTED = '''
import os, sys, tempfile
import torch, torch.distributed as dist, torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from flowops import LearnedMap, VelocityField, residuals


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, s, t, x):
        return self.layers(torch.cat([x, s[:, None], t[:, None]], 1))


class Loss(nn.Module):
    """The unit that is wrapped: derivatives are taken inside it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.X = LearnedMap(Network())
        self.b = VelocityField.from_function(lambda t, x: torch.sin(x) * t[:, None])

    def forward(self, s, t, x):
        lagrangian = residuals.lagrangian(self.X, self.b, s, t, x).square().mean()
        return lagrangian + residuals.eulerian(self.X, self.b, s, t, x).square().mean()


def batch():
    generator = torch.Generator().manual_seed(1)
    times = torch.rand(2, 8, generator=generator)
    return *times, torch.randn(8, 2, generator=generator)


def work(rank, file):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
    loss = DistributedDataParallel(Loss())
    loss(*(z[4 * rank : 4 * rank + 4] for z in batch())).backward()
    single = Loss()
    single(*batch()).backward()
    for p, q in zip(loss.module.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6)
        copies = [torch.empty_like(p.grad) for _ in range(2)]
        dist.all_gather(copies, p.grad)
        assert torch.equal(*copies)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, (os.path.join(folder, "store"),), nprocs=2)
    print("gradients agree", flush=True)
'''


@pytest.mark.slow
def test_operators_compile_into_one_graph(tmp_path: Path) -> None:
    assert run(tmp_path, COMPILED).count("compiled") == 5


@pytest.mark.slow
@pytest.mark.dist
def test_gradients_of_residuals_are_synchronized(tmp_path: Path) -> None:
    assert "gradients agree" in run(tmp_path, DISTRIBUTED)
