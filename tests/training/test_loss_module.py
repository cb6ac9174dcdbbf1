"""The wrapped unit: the loss of a method with its derivative inside."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from flowops import LearnedMap, interpolants, problems
from flowops.methods import Draw, Learned, Method, get_method
from flowops.networks import MLP, LearnedWeight
from flowops.runs import HardwareConfig
from flowops.training.loss_module import LossModule

I = interpolants.linear()
TARGET = problems.gaussian_mixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], 0.2, I)


def module_and_draw(method: Method, generator: torch.Generator, recompute: int = 0) -> tuple[LossModule, Draw]:
    teacher = TARGET.b if "field" in method.row.teacher else None
    hardware = HardwareConfig(recompute=recompute)
    module = LossModule(LearnedMap(MLP(2, width=16, generator=generator)), method, I, teacher, hardware=hardware)
    x0, x1 = (law(24, generator=generator) for law in (TARGET.sample_base, TARGET.sample_data))
    return module, method.draw(module.X, I, x0, x1, teacher=teacher, generator=generator)


def gradient(module: LossModule) -> Tensor:
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", ["fm", "lsd", "meanflow", "lmd"])
def test_the_result_is_that_of_the_method(name: str, generator: torch.Generator) -> None:
    method = get_method(name)
    module, draw = module_and_draw(method, generator)
    result = method.evaluate(module.X, I, draw, teacher=module.teacher)
    found = module(draw)
    torch.testing.assert_close(found.loss, result.loss)
    torch.testing.assert_close(found.per_sample, result.per_sample)
    assert int(found.seed) == int(result.seed)


@pytest.mark.parametrize("name", ["fm", "lsd", "psd-m"])
@pytest.mark.parametrize("parts", [2, 3])
def test_recomputed_parts_have_the_gradient_of_the_whole(name: str, parts: int, generator: torch.Generator) -> None:
    state = generator.get_state()
    module, draw = module_and_draw(get_method(name), generator)
    whole = module(draw)
    whole.loss.backward()
    generator.set_state(state)
    again, same = module_and_draw(get_method(name), generator, parts)
    found = again(same)
    found.loss.backward()
    torch.testing.assert_close(found.loss, whole.loss)
    torch.testing.assert_close(gradient(again), gradient(module), rtol=1e-4, atol=1e-6)
    for name in ("s", "t", "per_sample"):  # row by row
        torch.testing.assert_close(getattr(found, name), getattr(whole, name), rtol=1e-4, atol=1e-5)
    for term, value in whole.terms.items():
        torch.testing.assert_close(found.terms[term], value)


def test_a_teacher_is_no_part_of_what_is_trained(generator: torch.Generator) -> None:
    X = LearnedMap(MLP(2, width=8, generator=generator))
    teacher = LearnedMap(MLP(2, width=8, generator=generator)).velocity()
    module = LossModule(X, get_method("lmd"), I, teacher)
    assert {id(p) for p in module.parameters()} == {id(p) for p in X.parameters()}
    assert not any("teacher" in name for name in module.state_dict())


def test_an_average_is_looked_at_and_is_no_part_of_what_is_trained(generator: torch.Generator) -> None:
    X, average = (LearnedMap(MLP(2, width=8, generator=generator)) for _ in range(2))
    method = get_method("lsd", ema_teacher=True)
    module = LossModule(X, method, I, average=average)
    x0, x1 = (law(24, generator=generator) for law in (TARGET.sample_base, TARGET.sample_data))
    draw = method.draw(X, I, x0, x1, average=average, seed=1)
    found = module(draw)
    torch.testing.assert_close(found.loss, method.evaluate(X, I, draw, average=average).loss)
    assert not torch.equal(found.loss, method.evaluate(X, I, draw, average=X).loss)
    assert {id(p) for p in module.parameters()} == {id(p) for p in X.parameters()}
    assert module.teacher is None


def test_a_learned_weight_is_trained_with_the_map(generator: torch.Generator) -> None:
    method = get_method("fm", weight=Learned(LearnedWeight(16, generator=generator)))
    module, draw = module_and_draw(method, generator)
    module(draw).loss.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in method.parameters())


def test_bfloat16_leaves_times_states_and_losses_in_float32(generator: torch.Generator) -> None:
    seen: list[Tensor] = []

    class Watched(MLP):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, *_: object, **conditions: object) -> Tensor:
            seen.extend([s, t, x])
            return super().forward(s, t, x)

    method = get_method("fm")
    X = LearnedMap(Watched(2, width=16, generator=generator))
    module = LossModule(X, method, I, hardware=HardwareConfig(precision="bf16"))
    x0, x1 = (law(24, generator=generator) for law in (TARGET.sample_base, TARGET.sample_data))
    draw = method.draw(X, I, x0, x1, generator=generator)
    found = module(draw)
    assert {value.dtype for value in (*seen, found.loss, found.per_sample, found.s)} == {torch.float32}
    assert draw.terms[0] is not None
    assert torch.equal(found.s, draw.terms[0].s)
    plain = LossModule(X, method, I)(draw)
    assert not torch.equal(plain.loss, found.loss)  # the products of matrices are in bfloat16
    torch.testing.assert_close(plain.loss, found.loss, rtol=2e-2, atol=0)
