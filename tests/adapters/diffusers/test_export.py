"""A map written out for diffusers: its own scheduler, loaded from the folder, gives the same pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMapEulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.utils import logging
from torch import Tensor
from torch.testing import assert_close

from flowops import LearnedMap, interpolants, reschedule
from flowops.adapters import hub
from flowops.adapters.diffusers import FlowMapModel, FlowMapPipeline, export_pipeline
from flowops.adapters.diffusers.export import ExportedPipeline
from flowops.data import Pairs
from flowops.networks import MLP
from flowops.runs import NetworkConfig, Run
from flowops.runs.exporting import to_diffusers
from flowops.training import train
from tests.adapters.test_hub import faked
from tests.runs.small import Make, maker, silent

SMALL = {"network": "mlp", "network_options": {"width": 16, "depth": 2}, "event": [1, 4, 4]}
FORMULAS = {"alpha": "cos(pi*t/2)", "beta": "sin(pi*t/2)"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return maker(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def labelled(small: Make) -> Run:
    """A U-Net on digits with labels, two steps; its weights are then drawn, so that they matter."""
    return _drawn(train(small("labelled", "digits", steps=2), report=silent))


@pytest.fixture(scope="module")
def scaled(small: Make) -> Run:
    """A perceptron on digits that takes the scale of guidance and its interval as inputs, on the cosine schedule."""
    options = {"guidance": (1.0, 3.0), "guidance_interval": "RandomInterval(0.5)"}
    config = small(
        "scaled", "digits", steps=2, method="lsd", options=options, network=NetworkConfig("mlp", width=16, depth=2),
        **FORMULAS,
    )  # fmt: skip
    return _drawn(train(config, report=silent))


def _drawn(run: Run) -> Run:
    generator = torch.Generator().manual_seed(3)
    for parameter in run.X.parameters():
        parameter.data.normal_(0, 0.2, generator=generator)
    return run


def _opened(path: Path) -> Any:
    pipe = FlowMapPipeline.from_pretrained(str(path))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _images(pipe: Any, x0: Tensor, **options: Any) -> Tensor:
    images: Tensor = pipe(latents=x0, output_type="latent", **options).images
    return images


@pytest.mark.parametrize("scale", [None, 2.5])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_pipeline_gives_the_pictures_of_the_run(
    labelled: Run, tmp_path: Path, steps: int, scale: float | None
) -> None:
    pipe = _opened(to_diffusers(labelled, tmp_path / "pipe").path)
    assert type(pipe.scheduler) is FlowMapEulerDiscreteScheduler
    x0, classes = labelled.base(6), [3, 1, 4, 1, 5, 9]
    wanted = labelled.sample(x0=x0, steps=steps, label=classes, guidance=scale)
    got = _images(pipe, x0, num_inference_steps=steps, class_labels=classes, guidance_scale=scale)
    assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(got, x0, atol=0.1)
    other = _images(pipe, x0, num_inference_steps=steps, class_labels=7, guidance_scale=scale)
    assert not torch.allclose(other, wanted, atol=1e-2)  # the labels matter, and so do the weights
    next(pipe.unet.parameters()).data += 0.3
    assert not torch.allclose(
        _images(pipe, x0, num_inference_steps=steps, class_labels=classes, guidance_scale=scale), wanted, atol=1e-3
    )


def test_the_loop_of_the_scheduler_alone_gives_them_too(labelled: Run, tmp_path: Path) -> None:
    model = FlowMapModel.from_pretrained(to_diffusers(labelled, tmp_path / "pipe").path / "unet")
    scheduler = FlowMapEulerDiscreteScheduler()
    scheduler.set_timesteps(3)
    x = x0 = labelled.base(2)
    with torch.no_grad():
        for k, begin in enumerate(scheduler.timesteps):
            end = 1000 * scheduler.sigmas[k + 1]
            value = model(x, begin.expand(2), end.expand(2), class_labels=torch.tensor([0, 1])).sample
            x = scheduler.step(value, begin, x, r_timestep=end).prev_sample
    assert_close(x, labelled.sample(x0=x0, steps=3, label=[0, 1]), atol=1e-5, rtol=1e-5)


def test_on_the_diagonal_a_flow_matching_scheduler_solves_the_field(labelled: Run, tmp_path: Path) -> None:
    pipe = _opened(to_diffusers(labelled, tmp_path / "pipe").path)
    pipe.scheduler = FlowMatchEulerDiscreteScheduler()
    x0 = labelled.base(4)
    wanted = labelled.solve(x0=x0, method="euler", steps=4)
    assert_close(_images(pipe, x0, num_inference_steps=4), wanted.x, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(wanted.x, labelled.sample(x0=x0, steps=4), atol=1e-3)


def test_a_run_on_another_schedule_is_moved_to_the_linear_one(scaled: Run, tmp_path: Path) -> None:
    done = to_diffusers(scaled, tmp_path / "pipe")
    assert done.error < 1e-5
    pipe, x0 = _opened(done.path), scaled.base(3)
    for steps in (1, 2, 4):
        levels = np.linspace(1, 0, steps + 1)
        grid = [float(2 / np.pi * np.arctan2(1 - level, level)) for level in levels]  # equal angles
        wanted = scaled.sample(x0=x0, grid=[0.0, *grid[1:-1], 1.0], guidance=2.0, interval=(0.2, 0.9))
        got = _images(pipe, x0, num_inference_steps=steps, guidance_scale=2.0, guidance_interval=(0.2, 0.9))
        assert_close(got, wanted, atol=2e-5, rtol=2e-5)
        if steps > 1:
            assert not torch.allclose(got, scaled.sample(x0=x0, steps=steps, guidance=2.0), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [("average-velocity", {"sigma_data": 0.5}), ("edm", {"sigma_data": 0.4}), ("endpoint", {"clip": 0.1})],
)
def test_the_output_is_minus_the_average_velocity_whatever_the_parameterization(
    tmp_path: Path, name: str, options: Mapping[str, float]
) -> None:
    model = _model(parameterization=name, parameterization_options=options)
    x, done = torch.randn(5, 1, 4, 4), export_pipeline(
        model.learned, interpolants.linear(), tmp_path / "pipe", dict(_config(model))
    )  # fmt: skip
    loaded, X = FlowMapModel.from_pretrained(done.path / "unet"), model.learned
    for begin, end in ((1000.0, 0.0), (800.0, 300.0), (250.0, 250.0)):
        s, t = 1 - begin / 1000, 1 - end / 1000
        with torch.no_grad():
            assert_close(loaded(x, begin, end).sample, -X.average_velocity(s, t, x))
            assert_close(x - (begin - end) / 1000 * loaded(x, begin, end).sample, X(s, t, x))
            network = X.network(torch.full((5,), s), torch.full((5,), t), x)
            assert not torch.allclose(loaded(x, begin, end).sample, -network, atol=1e-3)


def _model(**options: Any) -> FlowMapModel:
    """A model with weights from a seed."""
    model = FlowMapModel(**{**SMALL, **options}).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.3, generator=generator)
    return model


def _config(model: FlowMapModel) -> dict[str, Any]:
    return {name: value for name, value in model.config.items() if not name.startswith("_")}


def test_a_rescheduled_model_is_the_rescheduled_map() -> None:
    model = _model(interpolant="trigonometric")
    X = reschedule(model.learned, interpolants.trigonometric(), interpolants.linear())
    x = torch.randn(4, 1, 4, 4)
    with torch.no_grad():
        got = x - 0.5 * model(x, 800.0, 300.0).sample
        assert_close(got, X(0.2, 0.7, x), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(got, model.learned(0.2, 0.7, x), atol=1e-3)  # the clock is another one


def test_a_schedule_that_reaches_less_far_is_held_or_refused() -> None:
    with pytest.raises(ValueError, match="truncate=True"):
        _model(interpolant="variance_preserving")
    assert _model(interpolant="variance_preserving", truncate=True).map.change.truncated


def test_the_weights_are_safetensors_and_no_code_lies_beside_them(labelled: Run, tmp_path: Path) -> None:
    path = to_diffusers(labelled, tmp_path / "pipe").path
    files = sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())
    assert files == [
        "model_index.json", "scheduler/scheduler_config.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert json.loads((path / "unet/config.json").read_text())["classes"] == [str(k) for k in range(10)]


def perceptron(event: Any, classes: int | None, width: int = 8) -> MLP:
    """A network of one's own."""
    return MLP(event, width=width, depth=1, labels=classes)


def test_a_network_of_ones_own_is_opened_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "tests.adapters.diffusers.test_export:perceptron"
    X = LearnedMap(perceptron((1, 4, 4), None, 12))
    done = export_pipeline(
        X, interpolants.linear(), tmp_path / "pipe", {**SMALL, "network": own, "network_options": {"width": 12}}
    )
    x0 = torch.randn(2, 1, 4, 4)
    assert_close(_images(_opened(done.path), x0), X(0.0, 1.0, x0))
    monkeypatch.setattr(FlowMapModel, "trusted", set())  # as in another process
    with pytest.raises(ValueError, match=r"FlowMapModel.trust\('tests.adapters"):
        _opened(done.path)


def test_a_pipeline_comes_from_the_hub_without_code(
    labelled: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = to_diffusers(labelled, tmp_path / "pipe")
    faked(tmp_path / "hub", monkeypatch)
    hub.push(done.path, "me/pipe")
    (tmp_path / "hub" / "me" / "pipe" / "unet" / "model.py").write_text("raise SystemExit")  # is not asked for
    x0 = labelled.base(2)
    assert torch.equal(_images(_opened(Path("me/pipe")), x0), _images(_opened(done.path), x0))


def test_an_earlier_export_is_replaced_and_nothing_else(labelled: Run, tmp_path: Path) -> None:
    path = to_diffusers(labelled, tmp_path / "pipe").path
    (path / "unet" / "old").touch()
    to_diffusers(labelled, path)
    assert not (path / "unet" / "old").exists()
    assert [file.name for file in tmp_path.iterdir()] == ["pipe"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="must be a new folder or an earlier export"):
        to_diffusers(labelled, tmp_path / "mine")
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_what_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    wrong = LearnedMap(MLP((1, 4, 4), width=16, depth=2))
    monkeypatch.setattr(model.learned.network.last.bias, "data", torch.zeros(16))
    monkeypatch.setattr("flowops.adapters.diffusers.export._difference", lambda *_: 0.5)
    with pytest.raises(ValueError, match="must give what the map gives"):
        export_pipeline(wrong, interpolants.linear(), tmp_path / "pipe", SMALL)
    assert not list(tmp_path.iterdir())


def test_a_model_of_other_settings_is_seen(tmp_path: Path) -> None:
    """The folder is compared with the map itself: a parameterization that it was not trained with is found."""
    X = _model(parameterization="endpoint").learned
    with pytest.raises(ValueError, match="must give what the map gives"):
        export_pipeline(X, interpolants.linear(), tmp_path / "pipe", SMALL)
    assert not list(tmp_path.iterdir())


def test_a_saved_pipeline_is_saved_again(tmp_path: Path) -> None:
    done = export_pipeline(_model().learned, interpolants.linear(), tmp_path / "one", SMALL)
    assert isinstance(done, ExportedPipeline)
    pipe = _opened(done.path)
    pipe.save_pretrained(tmp_path / "two")
    x0 = torch.randn(2, 1, 4, 4)
    assert torch.equal(_images(_opened(tmp_path / "two"), x0), _images(pipe, x0))


def test_points_pairs_objects_and_teachers_are_refused(labelled: Run, small: Make, tmp_path: Path) -> None:
    def refused(run: Run) -> str:
        with pytest.raises(ValueError, match="must") as caught:
            to_diffusers(run, tmp_path / "pipe")
        assert not (tmp_path / "pipe").exists()
        return str(caught.value)

    assert "got samples of shape [2]" in refused(replace(labelled, event=torch.Size([2])))
    assert "base samples of its data" in refused(replace(labelled, paired=True))
    assert "has a gamma" in refused(replace(labelled, interpolant=interpolants.encoding_decoding()))
    config = labelled.config
    for network, said in (
        (replace(config.network, parameterization="second-order"), "teacher's field"),
        (replace(config.network, kind="given"), "it was an object"),
    ):
        assert said in refused(replace(labelled, config=replace(config, network=network)))
    images = torch.randn(16, 1, 4, 4)
    data = Pairs(images, images + 1)
    run = train(small("pairs", "given", network=NetworkConfig("mlp", width=8, depth=1), steps=1), dataset=data,
                report=silent)  # fmt: skip
    assert "base samples of its data" in refused(run)


def test_images_lie_between_zero_and_one(labelled: Run, tmp_path: Path) -> None:
    pipe = _opened(to_diffusers(labelled, tmp_path / "pipe").path)
    x0 = labelled.base(2)
    raw, tensors, array = (_images(pipe, x0),) + tuple(pipe(latents=x0, output_type=k).images for k in ("pt", "np"))
    assert_close(tensors, (raw / 2 + 0.5).clamp(0, 1))
    assert array.shape == (2, 8, 8, 1)
    picture = pipe(latents=x0).images[0]
    assert (picture.mode, picture.size) == ("L", (8, 8))
    assert np.abs(np.asarray(picture) / 255 - array[0, ..., 0]).max() < 0.51 / 255


def test_the_generator_decides_the_noise(labelled: Run, tmp_path: Path) -> None:
    pipe = _opened(to_diffusers(labelled, tmp_path / "pipe").path)

    def drawn(seed: int) -> Tensor:
        images: Tensor = pipe(
            3, 2, class_labels=4, generator=torch.Generator().manual_seed(seed), output_type="latent"
        ).images
        return images

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"class_labels": 10}, "between 0 and 9"),
        ({"class_labels": [1, 2, 3]}, "or 2 of them"),
        ({"class_labels": [0.5, 1.5]}, "`class_labels`"),
        ({"output_type": "jpeg"}, "`output_type`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"num_inference_steps": 0}, "`num_inference_steps`"),
        ({"latents": torch.zeros(2, 1, 4, 4)}, "`latents`"),
        ({"guidance_interval": (0.2, 0.8)}, "`guidance_interval`"),
        ({"guidance_scale": 2.0, "guidance_interval": (0.2, 0.8)}, "`guidance_interval`"),
    ],
)
def test_wrong_arguments_are_told(labelled: Run, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    pipe = _opened(to_diffusers(labelled, tmp_path / "pipe").path)
    with pytest.raises(ValueError, match=said):
        pipe(**{"batch_size": 2, **options})


@pytest.mark.parametrize("options", [{"class_labels": 0}, {"guidance_scale": 2.0}])
def test_a_map_without_labels_takes_none(options: dict[str, Any]) -> None:
    pipe = FlowMapPipeline(_model(), FlowMapEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="trained without labels"):
        pipe(**options)


def test_a_map_that_never_dropped_labels_is_not_guided() -> None:
    pipe = FlowMapPipeline(_model(classes=["a", "b"]), FlowMapEulerDiscreteScheduler())
    with pytest.raises(ValueError, match="a label that stands for none"):
        pipe(guidance_scale=2.0)
