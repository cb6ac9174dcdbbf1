"""Samples of a run: where they start, along the map or by a solver, with labels and guidance, how they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowops import LearnedMap
from flowops.runs import Drawn, HardwareConfig, NetworkConfig, Run
from flowops.sampling import Plan, adaptive_sample, gamma_sample, noise, restart_sample, solve
from flowops.training import train
from tests.programs import run as run_program
from tests.runs.small import Make, pairs, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
GRID = [0.0, 0.3, 1.0]
UNET = NetworkConfig("unet", channels=4, multipliers=(1,), blocks=1)


class TestBase:
    def test_a_sample_depends_on_its_number_and_the_seed_only(self, plain: Run) -> None:
        few, many = plain.base(3, seed=4), plain.base(9, seed=4)
        assert torch.equal(few, many[:3])
        assert not torch.equal(few, plain.base(3, seed=5))

    def test_states_at_time_zero_are_those_of_the_schedule(self, small: Make) -> None:
        r"""A schedule may begin with another variance than one: the network sees $I_0=\alpha_0x_0$."""
        run = train(small(interpolant="edm", steps=1), report=silent)
        alpha = float(run.interpolant.alpha(0.0))
        assert alpha != 1
        x0 = noise(5, (2,), seed=3)
        torch.testing.assert_close(run.base(5, seed=3), alpha * x0)
        torch.testing.assert_close(run.sample(5, seed=3), run.X(0.0, 1.0, alpha * x0))
        read = Run.load(run.folder.path)
        torch.testing.assert_close(read.base(5, seed=3), alpha * x0)

    def test_where_the_schedule_begins_with_the_base_it_is_as_drawn(self, plain: Run) -> None:
        assert torch.equal(plain.base(5, seed=3), noise(5, (2,), seed=3))

    def test_they_may_begin_with_any_number(self, plain: Run, small: Make) -> None:
        assert torch.equal(plain.base(4, seed=3, start=5), plain.base(9, seed=3)[5:])
        run = train(small("pairs", f"{__name__}:pairs"), report=silent)
        assert torch.equal(run.base(4, seed=3, start=5), run.base(9, seed=3)[5:])

    def test_pairs_start_from_their_own_base(self, small: Make) -> None:
        run = train(small("pairs", f"{__name__}:pairs"), report=silent)
        assert run.paired
        assert set(map(tuple, run.base(5).tolist())) <= set(map(tuple, pairs().x0.tolist()))

    def test_pairs_with_a_normal_base_start_from_fresh_noise(self, small: Make) -> None:
        run = train(small("pairs", "tests.runs.small:normal_pairs"), report=silent)
        assert not run.paired
        assert torch.equal(run.base(5, seed=2), noise(5, (2,), seed=2))


class TestSamples:
    def test_two_steps_are_the_composition(self, plain: Run) -> None:
        x0 = plain.base(6)
        middle = plain.X(0.0, 0.3, x0)
        torch.testing.assert_close(plain.sample(6, grid=GRID), plain.X(0.3, 1.0, middle))

    def test_a_tolerance_takes_the_place_of_steps(self, plain: Run) -> None:
        found = adaptive_sample(plain.X, plain.base(6, seed=2), 0.2)
        drawn = plain.draw(6, seed=2, tolerance=0.2)
        torch.testing.assert_close(drawn.x, found.x)
        torch.testing.assert_close(plain.sample(6, seed=2, tolerance=0.2), found.x)
        assert drawn.calls == round(float(found.calls.double().mean()), 6)
        assert drawn.sampler == "map, tolerance 0.2"

    def test_a_plan_takes_the_place_of_both(self, plain: Run) -> None:
        for plan in (Plan((0.0, 0.3, 1.0)), Plan((0.0, 1.0), 0.2, 3)):
            x, calls = plan.sample(plain.X, plain.base(6, seed=2))
            drawn = plain.draw(6, seed=2, plan=plan)
            torch.testing.assert_close(drawn.x, x)
            torch.testing.assert_close(plain.sample(6, seed=2, plan=plan), x)
            assert drawn.calls == round(float(calls.double().mean()), 6)

    def test_the_solver_follows_the_diagonal_of_the_map(self, plain: Run) -> None:
        solved = plain.solve(5, method="euler", steps=40)
        X, x = plain.X, plain.base(5)
        for k in range(40):
            x = x + X.average_velocity(k / 40, k / 40, x) / 40
        torch.testing.assert_close(solved.x, x, rtol=1e-4, atol=1e-5)
        assert solved.calls == 40

    def test_they_may_start_from_given_states(self, plain: Run) -> None:
        x0 = plain.base(4, seed=9) + 1
        torch.testing.assert_close(plain.sample(x0=x0, steps=2), plain.X.compose([0.0, 0.5, 1.0], x0))
        solved = plain.solve(x0=x0, method="heun", steps=3).x
        torch.testing.assert_close(solved, solve(plain.X.velocity(), x0, "heun", steps=3).x)
        with pytest.raises(ValueError, match=r"`x0` must hold states of shape \[2\], got \[3\]"):
            plain.sample(x0=torch.zeros(4, 3))

    def test_every_sampler_is_one_call(self, plain: Run) -> None:
        """`draw` is what `sample` and `solve` give, and the samplers of `flowops.sampling` on the same base."""
        x0, X, I = plain.base(6, seed=2), plain.X, plain.interpolant
        with torch.no_grad():
            wanted = {
                "map": (plain.draw(6, seed=2, grid=GRID), plain.sample(6, seed=2, grid=GRID)),
                "steps": (plain.draw(6, seed=2, steps=2), X.compose([0.0, 0.5, 1.0], x0)),
                "gamma": (plain.draw(6, seed=2, grid=GRID, gamma=0.5), gamma_sample(X, I, x0, GRID, 0.5, seed=2)),
                "restart": (
                    plain.draw(6, seed=2, grid=GRID, restart=(0.0, 0.3, 2)),
                    restart_sample(X, I, x0, GRID, (0.0, 0.3), 2, seed=2),
                ),
                "heun": (
                    plain.draw(6, seed=2, solver="heun", grid=GRID),
                    plain.solve(6, seed=2, method="heun", grid=GRID).x,
                ),
                "ddim": (
                    plain.draw(6, seed=2, solver="ddim", steps=3),
                    solve(X.velocity(), x0, "ddim", steps=3, interpolant=I).x,
                ),
                "dopri5": (plain.draw(6, seed=2, solver="dopri5"), plain.solve(6, seed=2).x),
            }
        for drawn, x in wanted.values():
            torch.testing.assert_close(drawn.x, x)
        results = [drawn.x for drawn, _ in wanted.values()]
        assert not any(torch.equal(a, b) for i, a in enumerate(results) for b in results[:i])

    @pytest.mark.parametrize(
        "way",
        [
            {"grid": [0.0, 0.5, 1.0]},
            {"grid": [0.0, 0.5, 1.0], "gamma": 0.5},
            {"grid": [0.0, 0.5, 1.0], "restart": (0.0, 0.5, 2)},
            {"solver": "heun", "grid": [0.0, 0.5, 1.0]},
        ],
        ids=["plain", "gamma", "restart", "heun"],
    )
    def test_they_do_not_depend_on_the_chunk(self, labelled: Run, way: dict[str, Any]) -> None:
        whole, cut = (labelled.draw(7, seed=3, guidance=1.5, chunk=chunk, **way) for chunk in (100, 3))
        assert whole.x.shape == (7, 1, 8, 8)
        torch.testing.assert_close(whole.x, cut.x, rtol=1e-4, atol=1e-5)
        assert whole.calls == cut.calls

    @pytest.mark.parametrize(
        "way",
        [
            {"steps": 2},
            {"steps": 3, "gamma": 0.5},
            {"steps": 2, "restart": (0.0, 0.5, 2)},
            {"solver": "heun", "steps": 2},
        ],
        ids=["plain", "gamma", "restart", "heun"],
    )
    def test_a_sample_depends_on_its_number_and_the_seed_only(self, labelled: Run, way: dict[str, Any]) -> None:
        """Several processes draw stretches of what one draws: labels in turn and noise on the way go on."""
        whole, part = labelled.draw(27, seed=3, **way), labelled.draw(4, seed=3, start=23, **way)
        torch.testing.assert_close(part.x, whole.x[23:], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(part.x, whole.x[:4], rtol=1e-2, atol=1e-2)

    def test_without_a_number_the_elements_decide_the_chunk(
        self, labelled: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes, plain = [], LearnedMap._average_velocity

        def noted(self: LearnedMap, s: Tensor, t: Tensor, x: Tensor, conditions: Any) -> Tensor:
            sizes.append(len(x))
            return plain(self, s, t, x, conditions)

        monkeypatch.setattr(LearnedMap, "_average_velocity", noted)
        monkeypatch.setattr("flowops.sampling.cost.ELEMENTS", 3 * 64)
        labelled.sample(7)
        labelled.solve(7, method="euler", steps=1)
        assert sizes == [3, 3, 1] * 2
        sizes.clear()
        labelled.solve(7)
        assert max(sizes) == 3

    @pytest.mark.parametrize(("guidance", "cost"), [(None, 1), (2.0, 2)])
    def test_calls_are_counted_per_sample(self, labelled: Run, guidance: float | None, cost: int) -> None:
        shared: dict[str, Any] = {"guidance": guidance, "chunk": 2, "grid": [0.0, 0.5, 1.0]}
        assert labelled.draw(5, **shared).calls == 2 * cost
        assert labelled.draw(5, restart=(0.0, 0.5, 3), **shared).calls == 5 * cost
        assert labelled.draw(5, solver="heun", **shared).calls == 4 * cost

    def test_a_label_tells_the_cost(self, plain: Run) -> None:
        x = torch.zeros(1, 2)
        assert Drawn("map, 1 step", x, 1.0, 0.0).label == "map, 1 step, 1 call"
        assert Drawn("dopri5", x, 87.904, 0.0).label == "dopri5, 87.9 calls"
        assert plain.draw(2, steps=1).label == "map, 1 step, 1 call"
        assert plain.draw(2, steps=4).label == "map, 4 steps, 4 calls"
        assert plain.draw(2, solver="heun", steps=3).label == "heun, 3 steps, 6 calls"

    @pytest.mark.parametrize(("n", "chunk", "name"), [(0, 1, "n"), (1, 0, "chunk"), (-2, 1, "n")])
    def test_numbers_are_positive(self, plain: Run, n: int, chunk: int, name: str) -> None:
        with pytest.raises(ValueError, match=f"`{name}` must be a whole number of at least 1"):
            plain.draw(n, chunk=chunk)

    def test_noise_on_the_way_and_restarts_exclude_each_other(self, plain: Run) -> None:
        with pytest.raises(ValueError, match="`gamma` and `restart` must not be given together"):
            plain.draw(2, grid=GRID, gamma=0.5, restart=(0.0, 0.3, 1))

    def test_nothing_is_recorded_for_gradients(self, plain: Run) -> None:
        assert not plain.sample(2, x0=torch.zeros(2, 2, requires_grad=True)).requires_grad
        assert not any(p.requires_grad for p in plain.X.parameters())


class TestLabels:
    def test_they_are_given_in_turn_or_as_asked_for(self, labelled: Run) -> None:
        assert labelled.conditioning(12, None, None).labels.tolist() == [*range(10), 0, 1]  # type: ignore[union-attr]
        with torch.no_grad():
            wanted = labelled.X.given(label=torch.full((4,), 3))(0.0, 1.0, labelled.base(4))
        torch.testing.assert_close(labelled.sample(4, label=3), wanted)
        torch.testing.assert_close(labelled.sample(4, label=[3, 3, 3, 3], chunk=3), wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(labelled.sample(4, label=torch.full((4,), 3)), wanted)
        with pytest.raises(TypeError, match="`label` must be a class or one per sample, whole numbers"):
            labelled.sample(4, label=torch.full((4,), 3.0))

    @pytest.mark.parametrize(
        ("label", "message"), [(10, "between 0 and 9"), (-1, "between 0 and 9"), ([1, 2], "one class or 4 of them")]
    )
    def test_one_out_of_range_is_refused(self, labelled: Run, label: int | list[int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            labelled.sample(4, label=label)

    @pytest.mark.parametrize(("label", "guidance"), [(3, None), (None, 1.5)])
    def test_they_and_guidance_need_a_map_with_labels(
        self, plain: Run, label: int | None, guidance: float | None
    ) -> None:
        with pytest.raises(ValueError, match="trained without labels"):
            plain.sample(4, label=label, guidance=guidance)

    def test_guidance_of_one_is_none_and_zero_is_unconditional(self, labelled: Run) -> None:
        torch.testing.assert_close(labelled.sample(4, label=2, guidance=1.0), labelled.sample(4, label=2))
        with torch.no_grad():
            wanted = labelled.X.given(label=torch.full((4,), 10))(0.0, 1.0, labelled.base(4))
        torch.testing.assert_close(labelled.sample(4, label=2, guidance=0.0), wanted)

    def test_the_guided_map_has_the_guided_field_on_its_diagonal(self, labelled: Run) -> None:
        conditioning, x = labelled.conditioning(4, 2, 2.5), labelled.base(4)
        with torch.no_grad():
            wanted = conditioning.field()(0.3, x)
            torch.testing.assert_close(conditioning.map().velocity()(0.3, x), wanted, rtol=1e-4, atol=1e-4)

    def test_a_map_trained_with_guidance_takes_its_scale(self, small: Make) -> None:
        run = train(small("guided", "digits", options=("guidance=1,3",), steps=3), report=silent)
        assert run.X.takes("guidance")
        with torch.no_grad():
            X = run.X.given(label=torch.full((4,), 2), guidance=torch.full((4,), 2.0))
            wanted = X(0.0, 1.0, run.base(4))
        torch.testing.assert_close(run.sample(4, label=2, guidance=2.0), wanted)
        assert run.solve(4, method="euler", steps=3, label=2, guidance=2.0).calls == 3
        assert Run.load(run.folder.path).X.takes("guidance")
        assert run.draw(4, steps=2, label=2, guidance=2.0, interval=(0.3, 0.8)).calls == 6

    def test_a_map_trained_with_intervals_and_a_second_output_is_saved_and_goes_on(self, small: Make) -> None:
        options = ("paper=true", "guidance=PowerLaw(1,8,1)", "guidance_interval=RandomInterval(0.5)", "mix=unit")
        given: dict[str, Any] = {"dataset": "digits", "method": "imf", "options": options}
        run = train(small("intervals", **given, steps=2), report=silent)
        told: dict[str, Any] = {"label": 2, "guidance": 2.0, "interval": (0.3, 0.8)}
        loaded = Run.load(run.folder.path)
        assert loaded.X.takes("interval")
        with torch.no_grad():
            X = run.X.given(label=2, guidance=2.0, interval=(0.3, 0.8))
            x0 = run.base(4)
            torch.testing.assert_close(loaded.sample(4, **told), X(0.0, 1.0, x0))
            torch.testing.assert_close(loaded.X.given(label=2).auxiliary()(0.3, x0), X.auxiliary()(0.3, x0))
        assert not torch.equal(loaded.sample(4, **told), loaded.sample(4, label=2, guidance=2.0))
        assert loaded.draw(4, steps=2, **told).calls == 2
        further = train(small("intervals", **given, steps=4), resume=True, report=silent)
        assert further.step == 4
        assert further.X.takes("interval")


COMPILED = """
from dataclasses import replace
import torch
from torch import nn
from flowops import LearnedMap
from flowops.runs import Run

run = Run.load({folder!r})
compiled = run.on(compile=True)
for way in ({{"steps": 2}}, {{"steps": 3, "gamma": 0.5, "guidance": 1.5}}, {{"solver": "heun", "steps": 2}}):
    plain, found = (each.draw(13, chunk=5, **way) for each in (run, compiled))
    torch.testing.assert_close(found.x, plain.x, rtol=1e-3, atol=1e-4)
    assert found.calls == plain.calls
plain, found = (each.draw(13, chunk=5, solver="dopri5").x for each in (run, compiled))
torch.testing.assert_close(found, plain, rtol=1e-2, atol=1e-3)
half, both = (run.on(precision="bf16", compile=compile).sample(13, steps=2, chunk=5) for compile in (False, True))
torch.testing.assert_close(both, half, rtol=0.05, atol=0.05)
assert run.X.network._compiled_call_impl is None  # that of the run is as it was


class Branching(nn.Module):
    def forward(self, s, t, x):
        return x if float(x.sum()) > 0 else -x


bad = replace(run, X=LearnedMap(Branching()), classes=())
assert bad.sample(3).shape == (3, 1, 8, 8)
try:
    bad.on(compile=True).sample(3)
except ValueError as error:
    assert "`compile` must be left out for this network" in str(error), error
    print("the same")
"""


class TestComputing:
    """Where and how a run computes."""

    def test_another_precision_is_that_of_the_network_alone(self, labelled: Run) -> None:
        half, seen = labelled.on(precision="bf16"), []
        layer = next(m for m in labelled.X.network.modules() if isinstance(m, nn.Conv2d))
        hook = layer.register_forward_hook(lambda *found: seen.append(found[2].dtype))
        try:
            x, plain = half.sample(6, steps=2), labelled.sample(6, steps=2)
            solved = half.solve(6, method="heun", steps=2, guidance=1.5)
        finally:
            hook.remove()
        assert x.dtype == solved.x.dtype == torch.float32
        assert solved.calls == 8
        assert seen == [torch.bfloat16] * 2 + [torch.float32] * 2 + [torch.bfloat16] * 8
        assert 0 < (x - plain).abs().max() < 0.1
        assert (labelled.precision, half.precision, half.on().precision, half.on(precision="32").precision) == (
            "32", "bf16", "bf16", "32",
        )  # fmt: skip
        torch.testing.assert_close(half.on(precision="32").sample(6, steps=2), plain)

    @pytest.mark.usefixtures("unchecked")
    def test_there_are_two_precisions(self, labelled: Run) -> None:
        with pytest.raises(ValueError, match="`precision` must be 32 or bf16, got 'fp16'"):
            labelled.on(precision="fp16")  # type: ignore[arg-type]

    def test_another_device_takes_copies(self, labelled: Run) -> None:
        there = labelled.on("meta")
        assert {p.device.type for p in there.X.parameters()} == {"meta"}
        assert {p.device.type for p in labelled.X.parameters()} == {"cpu"}
        assert (there.device.type, labelled.device.type) == ("meta", "cpu")
        assert labelled.on("cpu").X is labelled.X

    @pytest.mark.parametrize(("wanted", "lasting"), [("yes", True), ("no", False), ("auto", False)])
    def test_images_keep_the_memory_format_of_the_training(self, small: Make, wanted: Any, lasting: bool) -> None:
        """What was trained with the channels last is sampled so: on CUDA the other format takes other kernels."""
        hardware = HardwareConfig("cpu", channels_last=wanted)
        config = small("lasting", "digits", network=UNET, steps=1, hardware=hardware)
        trained = train(config, report=silent)
        for run in (trained, Run.load(trained.folder.path)):
            weights = [p for p in run.X.parameters() if p.ndim == 4 and min(p.shape[1:3]) > 1]
            assert weights
            assert all(w.is_contiguous(memory_format=torch.channels_last) == lasting for w in weights)

    @pytest.mark.slow
    def test_a_compiled_network_gives_the_same_samples(self, labelled: Run, tmp_path: Path) -> None:
        """In one graph, for every sampler and every size of the last chunk; a network that has none is told."""
        printed = run_program(tmp_path, COMPILED.format(folder=str(labelled.folder.path)))
        assert printed.splitlines()[-1] == "the same"


class TestArguments:
    """What excludes each other, or is no value, is refused and not left out of account."""

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"steps": 4, "grid": [0.0, 0.5, 1.0]}, "`steps` and `grid` must not be given together"),
            ({"solver": "heun", "steps": 2, "gamma": 0.5}, "`gamma` must not be given to a solver, got it for heun"),
            ({"solver": "heun", "steps": 2, "restart": (0.2, 0.7, 1)}, "`restart` must not be given to a solver"),
            ({"tolerance": 1e-3, "steps": 4}, "`tolerance` and `steps` must not be given together"),
            ({"n": 100, "x0": torch.zeros(3, 2)}, "`x0` must hold 100 states, got 3; leave `n` out"),
            ({"x0": torch.zeros(0, 2)}, "`x0` must hold at least one states, got 0"),
            ({"restart": (0.25, 0.75)}, "`restart` must be times u < v and how often, got"),
        ],
    )
    @pytest.mark.usefixtures("unchecked")
    def test_what_does_not_go_together(self, small: Make, given: dict[str, Any], message: str) -> None:
        run = train(small(steps=1), report=silent)
        with pytest.raises(ValueError, match=message):
            run.draw(**given)

    def test_as_many_samples_as_states_unless_told(self, small: Make) -> None:
        run = train(small(steps=1), report=silent)
        assert len(run.sample(x0=torch.zeros(3, 2))) == 3
        assert len(run.sample(3, x0=torch.zeros(3, 2))) == 3
        assert len(run.sample()) == 64

    @pytest.mark.usefixtures("unchecked")
    def test_a_label_is_a_whole_number_or_several(self, small: Make) -> None:
        run = train(small(dataset="digits", steps=1), report=silent)
        one = run.sample(2, label=1)
        for label in (torch.tensor(1), torch.tensor([1, 1]), [1, 1]):
            torch.testing.assert_close(run.sample(2, label=label), one)
        wrong: tuple[Any, ...] = (1.0, torch.tensor(1.0), ["one"])
        for other in wrong:
            with pytest.raises(TypeError, match="`label` must be a class or one per sample, whole numbers"):
                run.sample(2, label=other)


class Embedding(nn.Module):
    """A network with labels and whatever label stands for none."""

    def __init__(self, null_label: int | None = None, rows: int = 11) -> None:
        super().__init__()
        self.rows = nn.Embedding(rows, 64)
        if null_label is not None:
            self.null_label = null_label

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return self.rows(label).reshape(x.shape) * x


class TestGuidance:
    """Guided samples take the label for none from the method or the network, as the training does."""

    @pytest.mark.parametrize(
        ("network", "options", "null"),
        [(Embedding(0), {}, 0), (Embedding(), {"null_label": 9}, 9), (Embedding(3, 10), {"null_label": 9}, 9)],
    )
    def test_the_label_for_none_is_that_of_the_training(
        self, small: Make, network: nn.Module, options: dict[str, Any], null: int
    ) -> None:
        run = train(small(dataset="digits", steps=1, options=options), network=network, report=silent)
        assert run.conditioning(4, None, 2.0).null == null
        x0 = run.base(2)
        found = run.draw(x0=x0, label=5, guidance=2.0, solver="euler", steps=1).x
        one, none = (run.X.velocity().given(label=torch.full((2,), k)) for k in (5, null))
        torch.testing.assert_close(found, x0 + none(0.0, x0) + 2 * (one(0.0, x0) - none(0.0, x0)))

    def test_without_one_guidance_is_refused(self, small: Make) -> None:
        run = train(small(dataset="digits", steps=1, label_dropout=0.0), network=Embedding(rows=10), report=silent)
        assert run.sample(2, label=3).shape == (2, 1, 8, 8)
        with pytest.raises(ValueError, match="`guidance` needs a label that stands for none"):
            run.sample(2, guidance=2.0)
