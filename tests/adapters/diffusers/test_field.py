"""Models of diffusers as velocity fields, beside steps of the schedulers of diffusers itself."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import interpolants, reschedule
from flowops.adapters.diffusers import times, velocity_field
from flowops.maps.reschedule import RescheduledField
from flowops.sampling import solve
from tests.examples import normal
from tests.pretrained import diffusers, saved, transformer, unet

# Some of its schedulers make NumPy arrays of tensors in a way that NumPy has deprecated.
OF_DIFFUSERS = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
PREDICTIONS = ["epsilon", "sample", "v_prediction"]
BETAS: list[dict[str, Any]] = [
    {"beta_schedule": "linear"},
    {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    {"beta_schedule": "squaredcos_cap_v2"},
]


def images() -> Tensor:
    return normal(3, 1, 8, 8, dtype=torch.float32)


def ddim(prediction: str = "epsilon", **options: Any) -> Any:
    """A deterministic sampler that clips nothing and ends at its last level."""
    own = {"clip_sample": False, "set_alpha_to_one": False, "prediction_type": prediction}
    return diffusers.DDIMScheduler(**{**own, **options})


def stepped(model: Any, scheduler: Any, x: Tensor, **given: Any) -> Tensor:
    """All steps of a scheduler, as a pipeline of diffusers takes them."""
    for k in scheduler.timesteps:
        x = scheduler.step(model(x, k.expand(len(x)), **given).sample, k, x).prev_sample
    return x


@pytest.mark.parametrize("shift", [1.0, 3.0])
@torch.no_grad()
def test_euler_steps_are_those_of_the_flow_matching_scheduler(shift: float) -> None:
    model, scheduler, x = unet(), diffusers.FlowMatchEulerDiscreteScheduler(shift=shift), images()
    scheduler.set_timesteps(6)
    wanted, grid = stepped(model, scheduler, x), times(scheduler, 6)
    b = velocity_field(model, scheduler)
    assert_close(solve(b, x, "euler", grid=grid).x, wanted, rtol=0, atol=1e-5)
    other = times(diffusers.FlowMatchEulerDiscreteScheduler(shift=shift + 0.5), 6)
    assert (solve(b, x, "euler", grid=other).x - wanted).abs().max() > 1e-3


@torch.no_grad()
def test_the_field_of_a_flow_matching_model_is_minus_its_output() -> None:
    model, x = unet(), images()
    b = velocity_field(model, diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0))
    for t in (0.0, 0.3, 1.0):
        assert_close(b(t, x), -model(x, torch.full((3,), 1000 * (1 - t))).sample, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("betas", BETAS, ids=lambda betas: betas["beta_schedule"])
@pytest.mark.parametrize("prediction", PREDICTIONS)
@torch.no_grad()
def test_ddim_steps_are_those_of_the_scheduler(prediction: str, betas: dict[str, Any]) -> None:
    model, scheduler, x = unet(), ddim(prediction, **betas), images()
    scheduler.set_timesteps(6)
    b, grid = velocity_field(model, scheduler), times(scheduler, 6)
    I = b.interpolant
    for index in (1, 3):
        k, (s, t) = scheduler.timesteps[index], grid[index : index + 2]
        wanted = scheduler.step(model(x, k.expand(3)).sample, k, x, eta=0.0).prev_sample
        v = b(s, x)
        noise, data = (I.convert(s, x, v, "velocity", name) for name in ("noise", "denoiser"))
        size = wanted.abs().max()
        assert (float(I.alpha(t)) * noise + float(I.beta(t)) * data - wanted).abs().max() < 1e-5 * size
        wrong = float(I.alpha(t + 0.02)) * noise + float(I.beta(t + 0.02)) * data
        assert (wrong - wanted).abs().max() > 1e-3 * size


@torch.no_grad()
def test_the_ddim_baseline_of_the_field_is_a_whole_run_of_the_scheduler() -> None:
    model, x = unet(), images()
    scheduler = ddim(timestep_spacing="linspace", beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    scheduler.set_timesteps(8)
    b, grid = velocity_field(model, scheduler), times(scheduler, 8)
    levels = scheduler.alphas_cumprod
    y = x
    for k, after in zip(scheduler.timesteps, scheduler.timesteps[1:], strict=False):  # the formula of 2010.02502
        noise = model(y, k.expand(3)).sample
        data = (y - (1 - levels[k]).sqrt() * noise) / levels[k].sqrt()
        y = levels[after].sqrt() * data + (1 - levels[after]).sqrt() * noise
    assert grid[0] == 0
    assert grid[-1] == 1
    assert_close(
        solve(b, x, "ddim", grid=grid, interpolant=b.interpolant).x, y, rtol=0, atol=2e-5 * y.abs().max().item()
    )


@OF_DIFFUSERS
@torch.no_grad()
def test_a_step_of_the_euler_scheduler_in_its_own_variables_is_one_of_the_field() -> None:
    model, scheduler, x = unet(), diffusers.EulerDiscreteScheduler(timestep_spacing="linspace"), images()
    scheduler.set_timesteps(5)
    b, k, (sigma, after) = velocity_field(model, scheduler), scheduler.timesteps[0], scheduler.sigmas[:2].tolist()
    theirs = x * (1 + sigma**2) ** 0.5  # x1 + sigma x0, where ours is of length one
    output = model(scheduler.scale_model_input(theirs, k), k.expand(3)).sample
    wanted = scheduler.step(output, k, theirs).prev_sample
    s = times(scheduler, 5)[0]
    v = b(s, x)
    noise = b.interpolant.convert(s, x, v, "velocity", "noise")
    assert_close(theirs + (after - sigma) * noise, wanted, rtol=1e-5, atol=1e-3 * after)


@torch.no_grad()
def test_schedulers_of_flows_by_other_names_say_the_same_field() -> None:
    model, x = unet(), images()
    wanted = velocity_field(model, diffusers.FlowMatchEulerDiscreteScheduler(shift=2.0))
    for scheduler in (
        diffusers.FlowMatchHeunDiscreteScheduler(),
        diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
    ):
        assert torch.equal(velocity_field(model, scheduler)(0.4, x), wanted(0.4, x))


@OF_DIFFUSERS
@torch.no_grad()
def test_schedulers_of_levels_by_other_names_say_the_same_field() -> None:
    model, x = unet(), images()
    wanted = velocity_field(model, ddim())
    for name in ("DDPM", "PNDM", "DPMSolverMultistep", "EulerDiscrete", "EulerAncestralDiscrete", "DEISMultistep"):
        scheduler = getattr(diffusers, f"{name}Scheduler")(beta_schedule="linear", beta_start=1e-4, beta_end=0.02)
        assert_close(velocity_field(model, scheduler)(0.4, x), wanted(0.4, x), rtol=1e-5, atol=1e-5)
    other = diffusers.DDPMScheduler(beta_schedule="linear", beta_end=0.03)
    assert not torch.allclose(velocity_field(model, other)(0.4, x), wanted(0.4, x), atol=1e-3)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@torch.no_grad()
def test_on_another_schedule_it_is_the_rescheduled_field_where_its_levels_reach(prediction: str) -> None:
    model, scheduler, x, linear = unet(), ddim(prediction), images(), interpolants.linear()
    b, other = velocity_field(model, scheduler), velocity_field(model, scheduler, interpolant=linear)
    moved = reschedule(b, b.interpolant, linear, truncate=True)
    for t in (0.02, 0.3, 0.7, 0.95):
        assert_close(other(t, x), moved(t, x), rtol=1e-5, atol=1e-5 * other(t, x).abs().max().item())
    assert other(torch.tensor([0.0, 0.5, 1.0]), x).isfinite().all()
    assert not torch.allclose(other(0.0, x), moved(0.0, x), atol=0.1)  # the clock that is held only rescales
    assert isinstance(moved, RescheduledField)
    start, end = moved.change.defect(64, 64.0)
    assert start == pytest.approx(8 / 157.4, rel=0.02)
    assert end == pytest.approx(8 * 0.01, rel=0.02)


def test_a_signal_of_zero_at_the_end_is_met() -> None:
    scheduler = ddim("v_prediction", rescale_betas_zero_snr=True)
    assert scheduler.alphas_cumprod[-1] == 0
    b = velocity_field(unet(), scheduler)
    assert float(b.interpolant.beta(0.0)) == 0
    assert b(0.0, images()).isfinite().all()
    with pytest.raises(ValueError, match=r"^`prediction_type` must be sample or v_prediction where"):
        velocity_field(unet(), ddim("epsilon", rescale_betas_zero_snr=True))


def test_labels_reach_the_model_and_none_is_its_null_class() -> None:
    model, x, scheduler = transformer(), images(), diffusers.FlowMatchEulerDiscreteScheduler()
    for embedding in (block.norm1.emb.class_embedder.embedding_table for block in model.transformer_blocks):
        torch.nn.init.normal_(embedding.weight)
    b, k, label = velocity_field(model, scheduler), torch.full((3,), 700.0), torch.tensor([1, 2, 3])
    assert b.takes("label")
    assert b.null_label == 10
    assert_close(b.given(label=label)(0.3, x), -model(x, k, label).sample, rtol=1e-4, atol=1e-5)
    assert_close(b.given(label=2)(0.3, x), -model(x, k, torch.full((3,), 2)).sample, rtol=1e-4, atol=1e-5)
    assert_close(b(0.3, x), -model(x, k, torch.full((3,), 10)).sample, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(b(0.3, x), b.given(label=2)(0.3, x), atol=1e-3)
    assert torch.equal(b.train()(0.3, x), b.train()(0.3, x))  # diffusers itself drops labels at random here


def test_half_of_the_channels_of_a_learned_variance_are_left_out() -> None:
    x, model = images(), transformer(out_channels=2)
    scheduler = ddim()
    scheduler.set_timesteps(3)
    b, t = velocity_field(model, scheduler), times(scheduler, 3)[1]
    noise = b.interpolant.convert(t, x, b(t, x), "velocity", "noise")
    told = model(x, scheduler.timesteps[1].expand(3), torch.full((3,), 10)).sample
    assert_close(noise, told[:, :1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(noise, told[:, 1:], atol=1e-2)


def test_a_field_differentiates_and_solves(tmp_path: Any) -> None:
    b = velocity_field(saved(tmp_path, unet(), diffusers.FlowMatchEulerDiscreteScheduler())).double()
    x, u = normal(2, 1, 8, 8), normal(2, 1, 8, 8, seed=1)
    h = 1e-5
    with torch.no_grad():
        slope = (b(0.4, x + h * u) - b(0.4, x - h * u)) / (2 * h)
        rate = (b(0.4 + 1e-7, x) - b(0.4 - 1e-7, x)) / 2e-7
        assert_close(b.jvp(0.4, x, u), slope, rtol=1e-5, atol=1e-7)
        assert_close(b.dt(0.4, x), rate, rtol=1e-4, atol=1e-5)
        X = b.flow_map(rtol=1e-5, atol=1e-5)
        assert_close(X(0.52, 0.5, X(0.5, 0.52, x)), x, rtol=0, atol=1e-4)


def test_what_is_no_field_is_told_in_a_sentence(tmp_path: Any) -> None:
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    wrong = ddim()
    wrong.alphas_cumprod = wrong.alphas_cumprod.flip(0)
    cases: list[tuple[Any, Any, str]] = [
        (unet(), None, r"^`scheduler` must be given beside a model"),
        (unet(), unet(), r"^`scheduler` must be a scheduler of diffusers, got UNet2DModel"),
        (unet(), diffusers.LCMScheduler(), r"^`scheduler` must be that of a velocity, got LCMScheduler"),
        (unet(), diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), r"invert_sigmas=True"),
        (unet(), diffusers.EDMEulerScheduler(), r"^`scheduler` must have falling `alphas_cumprod`.*EDMEuler"),
        (unet(), wrong, r"^`scheduler` must have falling `alphas_cumprod`"),
        (unet(), ddim("variance"), r"^`prediction_type` must be one of epsilon, sample, v_prediction, got 'variance'"),
        (unet(out_channels=2), flow, r"^`model` must return 1 channels.*learns no variance"),
        (unet(out_channels=3), ddim(), r"^`model` must return as many channels as it is given, 1, or twice"),
        (unet(time_embedding_type="fourier"), flow, r"^`model` must have a positional embedding of times"),
        (unet(class_embed_type="timestep"), flow, r"^`model` must embed classes by a table"),
        (torch.nn.Linear(2, 2), flow, r"^`model` must be a UNet2DModel or a DiTTransformer2DModel"),
        (tmp_path / "none", None, r"^`.*none` must be a folder saved by diffusers"),
        (tmp_path, None, r"^`.*` must hold one model, as unet/config.json"),
    ]
    for source, scheduler, sentence in cases:
        with pytest.raises((ValueError, TypeError, FileNotFoundError), match=sentence):
            velocity_field(source, scheduler)
    with pytest.raises(ValueError, match=r'^`attention` must be "written" or "fused"'):
        velocity_field(unet(), flow, attention="flash")
    with pytest.raises(ValueError, match=r"^`interpolant` must have two terms with finite rates"):
        velocity_field(unet(), flow, interpolant=interpolants.variance_preserving())


def test_folders_with_a_part_missing_or_damaged_are_told_in_a_sentence(tmp_path: Any) -> None:
    unet().save_pretrained(tmp_path / "unet")
    with pytest.raises(FileNotFoundError, match=r"must hold the scheduler of the training"):
        velocity_field(tmp_path)
    ddim().save_pretrained(tmp_path / "scheduler")
    settings, weights = (
        tmp_path / "scheduler/scheduler_config.json",
        tmp_path / "unet/diffusion_pytorch_model.safetensors",
    )
    kept = settings.read_text()
    settings.write_text(kept.replace("DDIMScheduler", "OtherScheduler"))
    with pytest.raises(ValueError, match=r"must hold a scheduler that this diffusers knows, got OtherScheduler"):
        velocity_field(tmp_path)
    settings.write_text("{")
    with pytest.raises(ValueError, match=r"must name its class as diffusers writes it"):
        velocity_field(tmp_path)
    settings.write_text(kept)
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"must be readable by diffusers, which says"):
        velocity_field(tmp_path)
    config = tmp_path / "unet/config.json"
    config.write_text(config.read_text().replace("UNet2DModel", "UNet1DModel"))
    with pytest.raises(ValueError, match=r"must hold a UNet2DModel or a DiTTransformer2DModel, got UNet1DModel"):
        velocity_field(tmp_path)


def test_without_diffusers_the_extra_is_named(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path, unet(), ddim())
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ImportError, match=r"^`diffusers` must be installed .* 'flowops\[diffusers\]'\.$"):
        velocity_field(folder)


def test_calls_that_do_not_fit_are_told_in_a_sentence() -> None:
    flow, x = diffusers.FlowMatchEulerDiscreteScheduler(), images()
    known = velocity_field(unet(num_class_embeds=3), flow)
    with pytest.raises(ValueError, match=r"^`label` must be given to a model of classes that has none for no label"):
        known(0.5, x)
    with pytest.raises(ValueError, match=r"^`label` must be a class between 0 and 2, got values from 7"):
        known.given(label=7)(0.5, x)
    with pytest.raises(ValueError, match=r"^`label` must be a class or whole numbers of shape \[3\]"):
        known.given(label=torch.ones(3))(0.5, x)
    with pytest.raises(TypeError, match=r"^`label` must be a condition"):
        velocity_field(unet(), flow).given(label=1)
    with pytest.raises(ValueError, match=r"^`model` must take states of the data's shape \[2, 8, 8\]"):
        known.given(label=1)(0.5, normal(3, 2, 8, 8, dtype=torch.float32))
    with pytest.raises(TypeError, match=r"^`x` must have the dtype of the model, torch.float32"):
        known.given(label=1)(0.5, x.double())
    with pytest.raises(ValueError, match=r"^`model` must know the 4 classes of the data, got one of 3"):
        velocity_field(unet(num_class_embeds=3), flow, classes=4)
    assert velocity_field(unet(num_class_embeds=3), flow, classes=2).null_label == 2
