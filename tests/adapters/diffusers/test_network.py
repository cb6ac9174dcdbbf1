"""Two-time networks around models of diffusers: they start as the field, differentiate and know their conditions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap, interpolants
from flowops._derivatives import value_and_jvp
from flowops.adapters.diffusers import two_time_network, velocity_field, write_attention_out
from flowops.networks import audit, load_diagonal
from tests.examples import normal, uniform
from tests.pretrained import diffusers, transformer, unet

MODELS = {"unet": unet, "labelled unet": lambda seed=0: unet(seed, num_class_embeds=3), "transformer": transformer}
SCHEDULERS = {
    "flow": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "noise": lambda: diffusers.DDPMScheduler(),
    "velocity": lambda: diffusers.DDIMScheduler(prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2"),
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> Any:
    return MODELS[request.param]()


def inputs(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    s, t = 0.1 + 0.4 * uniform(2, 3, dtype=dtype)
    return s, t + 0.4, normal(3, 1, 8, 8, dtype=dtype)


def given(network: Any) -> dict[str, Any]:
    return {"label": torch.tensor([0, 1, 2])} if network.accepted_conditions else {}


def opened(network: Any) -> Any:
    """The network with gains that are not zero, as behind some training."""
    for module in network.modules():
        if isinstance(gain := getattr(module, "gain", None), nn.Parameter):
            gain.data.fill_(0.5)
    return network


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@torch.no_grad()
def test_the_map_starts_as_the_euler_step_of_the_field(model: Any, scheduler: str) -> None:
    (s, t, x), clock = inputs(), SCHEDULERS[scheduler]()
    network = two_time_network(model, clock).eval()
    b = velocity_field(model, clock, interpolant=interpolants.linear())
    X, conditions = LearnedMap(network), given(network)
    assert torch.equal(network(s, t, x, **conditions), network(s, s, x, **conditions))
    field = b.given(**conditions) if conditions else b
    assert torch.equal(X.given(**conditions).velocity()(s, x) if conditions else X.velocity()(s, x), field(s, x))
    opened(network)
    assert not torch.allclose(network(s, t, x, **conditions), network(s, s, x, **conditions), atol=1e-3)


def test_the_first_step_of_a_training_moves_the_gains(model: Any) -> None:
    (s, t, x), network = inputs(), two_time_network(model, SCHEDULERS["flow"]())
    network(s, t, x, **given(network)).square().sum().backward()
    gains = [p for name, p in network.named_parameters() if name.endswith(".gain")]
    assert len(gains) == (2 if hasattr(model, "transformer_blocks") else 1)
    assert all(not p.detach().any() for p in gains)
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in gains)


@pytest.mark.parametrize("scheduler", ["flow", "noise"])
def test_derivatives_agree_with_central_differences_in_float64(model: Any, scheduler: str) -> None:
    network = opened(two_time_network(model, SCHEDULERS[scheduler]()).double())
    (s, t, x), conditions = inputs(torch.float64), given(network)
    for k, h in enumerate((1e-7, 1e-6, 1e-6)):
        u = [torch.zeros_like(p) for p in (s, t, x)]
        u[k] = normal(*u[k].shape, seed=1) if k == 2 else torch.ones_like(u[k])
        with torch.no_grad():
            slope = value_and_jvp(lambda *p: network(*p, **conditions), (s, t, x), tuple(u))[1]
            ahead = network(s + h * u[0], t + h * u[1], x + h * u[2], **conditions)
            behind = network(s - h * u[0], t - h * u[1], x - h * u[2], **conditions)
        difference = (ahead - behind) / (2 * h)
        assert_close(slope, difference, rtol=1e-4, atol=1e-5 * (1 + difference.abs().max().item()))
        assert slope.abs().max() > 1e-6


def test_the_audit_finds_it_sound_and_names_fused_attention_with_every_way_out(model: Any) -> None:
    clock, x = SCHEDULERS["flow"](), inputs()[2]
    network = two_time_network(model, clock)
    assert audit(network, x, **given(network)).ok
    fused = two_time_network(model, clock, attention="fused")
    found = audit(fused, x, **given(fused)).findings
    assert found
    assert all("attn" in one.module or "attention" in one.module for one in found)
    for way in ("write_attention_out", "SDPBackend.MATH", 'derivatives="central"'):
        assert way in found[0].remedy
    assert write_attention_out(fused.backbone.model) == len(found)
    assert audit(fused, x, **given(fused)).ok


def test_the_mathematical_kernel_is_a_way_out_too(model: Any) -> None:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    (s, t, x), clock = inputs(), SCHEDULERS["flow"]()
    network, fused = (two_time_network(model, clock, attention=way) for way in ("written", "fused"))
    conditions = given(network)

    def slope(own: nn.Module) -> tuple[Tensor, Tensor]:
        """The derivative, and how its square changes with the second layer of the network."""
        along = value_and_jvp(lambda y: own(s, t, y, **conditions), (x,), (torch.ones_like(x),))[1]
        layer = next(p for name, p in own.named_parameters() if name.endswith("to_q.weight"))
        return along, torch.autograd.grad(along.square().sum(), layer)[0]

    with pytest.raises(NotImplementedError, match="forward AD"):
        slope(fused)
    with sdpa_kernel(SDPBackend.MATH):
        for one, other in zip(slope(fused), slope(network), strict=True):
            assert one.any()
            assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_an_attention_of_another_kind_is_named_and_nothing_is_changed() -> None:
    model = unet()
    attention = [module for module in model.modules() if hasattr(module, "set_processor")]
    attention[-1].set_processor(lambda *_, **__: None)
    before = [type(module.processor).__name__ for module in attention]
    with pytest.raises(ValueError, match=r"^`.*attentions.*` must attend by AttnProcessor2_0 .*, got function"):
        write_attention_out(model)
    assert [type(module.processor).__name__ for module in attention] == before


@torch.no_grad()
def test_load_diagonal_takes_the_weights_of_another_model(model: Any) -> None:
    clock, (s, t, x) = SCHEDULERS["flow"](), inputs()
    name = next(name for name in MODELS if MODELS[name]().state_dict().keys() == model.state_dict().keys())
    other = MODELS[name](seed=1)
    network = opened(two_time_network(model, clock)).eval()
    conditions = given(network)
    before = copy.deepcopy(network.state_dict())
    weights = other.state_dict()
    first = next(iter(weights))
    for wrong in ({**weights, "more": weights[first]}, {k: v for k, v in weights.items() if k != first}):
        with pytest.raises(ValueError, match=r"^`weights` must be those of a model of diffusers"):
            load_diagonal(network, wrong)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    load_diagonal(network, {f"module.{name}": value for name, value in weights.items()})
    b = velocity_field(other, clock)
    wanted = (b.given(**conditions) if conditions else b)(s, x)
    assert torch.equal(network(s, t, x, **conditions), wanted)


def test_the_original_is_not_changed(model: Any) -> None:
    weights = copy.deepcopy(model.state_dict())
    kinds = [type(module).__name__ for module in model.modules()]
    network = two_time_network(model, SCHEDULERS["flow"]())
    for parameter in network.parameters():
        parameter.data.add_(1.0)
    assert [type(module).__name__ for module in model.modules()] == kinds
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_labels_that_are_dropped_take_the_null_class() -> None:
    clock = SCHEDULERS["flow"]()
    assert two_time_network(transformer(), clock).null_label == 10
    assert two_time_network(unet(num_class_embeds=4), clock, classes=3).null_label == 3
    for without in (two_time_network(unet(num_class_embeds=3), clock, classes=3), two_time_network(unet(), clock)):
        assert not hasattr(without, "null_label")
    assert two_time_network(unet(), clock).accepted_conditions == ()


@torch.no_grad()
def test_a_least_signal_bounds_what_noise_says_of_the_data() -> None:
    (_, _, x), clock = inputs(), SCHEDULERS["noise"]()
    whole, held = two_time_network(unet(), clock).eval(), two_time_network(unet(), clock, signal=0.05).eval()
    zero, one, late = torch.zeros(3), torch.ones(3), torch.full((3,), 0.05)
    assert whole(zero, one, x).abs().max() > 5 * held(zero, one, x).abs().max()
    assert torch.equal(whole(late, one, x), held(late, one, x))
    with pytest.raises(ValueError, match=r"^`signal` must be at least 0 and below"):
        two_time_network(unet(), clock, signal=200.0)
    with pytest.raises(ValueError, match=r"^`signal` must be 0 for a model of flow matching"):
        two_time_network(unet(), SCHEDULERS["flow"](), signal=0.05)
    with pytest.raises(ValueError, match=r"^`time_scale` must be positive, got 0"):
        two_time_network(unet(), clock, time_scale=0)


@torch.no_grad()
def test_derivatives_in_s_are_of_the_scale_of_the_timesteps_and_those_in_t_are_not(model: Any) -> None:
    network = opened(two_time_network(model, SCHEDULERS["flow"]()))
    (s, t, x), conditions = inputs(), given(network)
    by_s = value_and_jvp(lambda q: network(q, t, x, **conditions), (s,), (torch.ones_like(s),))[1]
    by_t = value_and_jvp(lambda q: network(s, q, x, **conditions), (t,), (torch.ones_like(t),))[1]
    assert by_s.norm() > 5 * by_t.norm()
