"""The teacher of a distillation: another run, a reference problem, or what the user brings, on the run's schedule."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from flowops import FlowMap, VelocityField, interpolants, problems
from flowops.maps import reschedule
from flowops.problems import Problem
from flowops.runs import NetworkConfig, Run
from flowops.runs.teacher import teacher_of
from flowops.training import train
from tests.methods.rows import learned
from tests.runs.small import PERCEPTRON, Make, silent

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
CPU = torch.device("cpu")
I = interpolants.trigonometric()
X0 = torch.randn(6, 2, generator=torch.Generator().manual_seed(1))
T = torch.linspace(0.1, 0.9, 6)


def found(config: Any, wanted: str = "field", **given: Any) -> Any:
    """The teacher of a run in the plane on the trigonometric schedule."""
    return teacher_of(config, wanted, I, (2,), CPU, load=Run.load, **given)


class Rotating(VelocityField):
    """A field of one's own."""

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return torch.stack([-x[:, 1], x[:, 0]], 1)


def rotating() -> VelocityField:
    """Made without arguments."""
    return Rotating()


def a_map() -> FlowMap:
    """A map of one's own."""
    return learned(seed=7, dtype=torch.float32)


def a_problem() -> Problem[Any, Any]:
    """A problem of one's own."""
    return problems.gaussian(torch.zeros(2), torch.eye(2), interpolants.linear())


def of_other_shape() -> Problem[Any, Any]:
    """A problem in three dimensions."""
    return problems.gaussian(torch.zeros(3), torch.eye(3), interpolants.linear())


def a_number() -> int:
    """No teacher."""
    return 3


field, number, problem = Rotating(), 3, a_problem()


class TestOtherRuns:
    @pytest.mark.parametrize("name", ["lmd", "emd", "pfmm", "pd", "cd", "ctm", "fm"])
    def test_a_run_is_the_teacher_of_another_on_its_own_schedule(self, small: Make, name: str) -> None:
        teacher = small("teacher", method="fm", steps=4)
        train(teacher, report=silent)
        if name == "fm":
            with pytest.raises(ValueError, match="`teacher` must not be given for fm"):
                train(small(method=name, teacher=teacher.out), report=silent)
            return
        config = small(method=name, teacher=teacher.out, interpolant="trigonometric", steps=2)
        assert bool(train(config, report=silent).sample(4).isfinite().all())

    def test_a_teacher_of_another_schedule_is_moved_to_that_of_the_run(self, small: Make) -> None:
        teacher = train(small("teacher", method="fm", steps=2), report=silent)
        config = small(method="lmd", teacher=str(teacher.folder.path))
        b = found(config)
        wanted = reschedule(teacher.X.velocity(), teacher.interpolant, I)
        assert isinstance(b, VelocityField)
        torch.testing.assert_close(b(T, X0), wanted(T, X0))
        assert not torch.allclose(wanted(T, X0), teacher.X.velocity()(T, X0))
        X = found(config, "map")
        assert isinstance(X, FlowMap)
        torch.testing.assert_close(X(0.0, T, X0), reschedule(teacher.X, teacher.interpolant, I)(0.0, T, X0))

    def test_a_clock_that_ends_before_the_run_is_held_and_told(self, small: Make) -> None:
        teacher = train(small("teacher", method="fm", interpolant="variance_preserving", steps=2), report=silent)
        config, told = small(method="lmd", teacher=str(teacher.folder.path)), list[str]()
        b = found(config, report=told.append)
        wanted = reschedule(teacher.X.velocity(), teacher.interpolant, I, truncate=True)
        assert isinstance(b, VelocityField)
        torch.testing.assert_close(b(T, X0), wanted(T, X0))
        [said] = told
        start = re.search(
            r"off by at most (\S+) where the noise is cut, which the flow carries on, and by 0 more at the data", said
        )
        assert start is not None, said
        ratio = teacher.interpolant.beta(0.0) / teacher.interpolant.alpha(0.0)  # of data in what is held for noise
        assert float(start[1]) == pytest.approx(float(ratio), rel=0.03)
        assert isinstance(train(config, report=silent), Run)

    def test_a_clock_that_reaches_as_far_is_not_held(self, small: Make) -> None:
        teacher, told = train(small("teacher", method="fm", steps=1), report=silent), list[str]()
        found(small(method="lmd", teacher=str(teacher.folder.path)), report=told.append)
        assert not told

    def test_a_run_on_other_samples_is_no_teacher(self, small: Make) -> None:
        teacher = train(small("teacher", "digits", method="fm", steps=1), report=silent)
        with pytest.raises(ValueError, match=r"must be trained on samples of shape \[2\], got \[1, 8, 8\] in"):
            train(small(method="lmd", teacher=str(teacher.folder.path)), report=silent)


class TestReferenceProblems:
    @pytest.mark.parametrize("name", ["checkerboard", "gaussian", "mixture", "empirical"])
    def test_the_field_is_the_exact_one_on_the_schedule_of_the_run(self, small: Make, name: str) -> None:
        b = found(small(method="lmd", teacher=f"problem:{name}"))
        exact, other = (problems.REFERENCE[name](schedule).b for schedule in (I, interpolants.linear()))
        torch.testing.assert_close(b(T, X0), exact(T, X0), rtol=0, atol=0)
        assert not torch.allclose(b(T, X0), other(T, X0), atol=1e-2)

    def test_the_map_is_the_closed_form_where_there_is_one_and_a_solve_elsewhere(self, small: Make) -> None:
        X = found(small(method="pfmm", teacher="problem:gaussian"), "map")
        exact = problems.REFERENCE["gaussian"](I).X
        assert exact is not None
        torch.testing.assert_close(X(0.2, T, X0), exact(0.2, T, X0), rtol=0, atol=0)
        solved = found(small(method="pfmm", teacher="problem:mixture"), "map")
        b = problems.REFERENCE["mixture"](I).b
        torch.testing.assert_close(solved(0.2, T, X0), b.flow_map()(0.2, T, X0))

    @pytest.mark.parametrize(("name", "method"), [("checkerboard", "lmd"), ("gaussian", "lmd"), ("gaussian", "pfmm")])
    def test_a_run_learns_from_it(self, small: Make, name: str, method: str) -> None:
        config = small(method=method, teacher=f"problem:{name}", interpolant="trigonometric", steps=2)
        run = train(config, report=silent)
        assert bool(run.sample(4).isfinite().all())
        assert run.config.teacher == f"problem:{name}"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("problem:checkerbord", "`teacher` must be one of problem:linear, .* did you mean 'problem:checkerboard'?"),
            ("problem:linear", r"must be trained on samples of shape \[2\], got \[3\] in problem:linear"),
        ],
    )
    def test_another_one_is_named(self, small: Make, name: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            found(small(method="lmd", teacher=name))


class TestOnesOwn:
    @pytest.mark.parametrize("name", ["rotating", "field"])
    def test_a_field_is_found_where_it_is(self, small: Make, name: str) -> None:
        b = found(small(method="lmd", teacher=f"{__name__}:{name}"))
        torch.testing.assert_close(b(T, X0), field(T, X0))
        X = found(small(method="pfmm", teacher=f"{__name__}:{name}"), "map")
        torch.testing.assert_close(X(0.0, T, X0), field.flow_map()(0.0, T, X0))

    def test_a_map_is_its_field_where_one_is_wanted(self, small: Make) -> None:
        config = small(teacher=f"{__name__}:a_map")
        torch.testing.assert_close(found(config)(T, X0), a_map().velocity()(T, X0))
        torch.testing.assert_close(found(config, "map")(0.1, T, X0), a_map()(0.1, T, X0))
        assert not any(p.requires_grad for p in found(config).parameters())

    @pytest.mark.parametrize("name", ["a_problem", "problem"])
    def test_a_problem_is_its_field(self, small: Make, name: str) -> None:
        b = found(small(method="lmd", teacher=f"{__name__}:{name}"))
        torch.testing.assert_close(b(T, X0), a_problem().b(T, X0))

    def test_an_object_takes_the_place_of_a_name(self, small: Make) -> None:
        assert found(small(method="lmd"), given=field)(T, X0).equal(field(T, X0))
        X = found(small(method="pfmm"), "map", given=field)
        torch.testing.assert_close(X(0.0, T, X0), field.flow_map()(0.0, T, X0))

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no.such:field", "`teacher` must name something to import"),
            (f"{__name__}:of_other_shape", r"samples of shape \[2\], got \[3\]"),
        ],
    )
    def test_what_is_not_there_or_does_not_fit_is_named(self, small: Make, name: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            found(small(method="lmd", teacher=name))

    @pytest.mark.parametrize("name", ["number", "a_number"])
    def test_what_is_no_field_is_refused(self, small: Make, name: str) -> None:
        with pytest.raises(TypeError, match="`teacher` must be a VelocityField or a FlowMap, got int of"):
            found(small(method="lmd", teacher=f"{__name__}:{name}"))


class TestFieldOrMap:
    """Rows that take either get what is given; of a run the field, unless it is the round before."""

    def test_an_object_stays_what_it_is(self, small: Make) -> None:
        X, b = a_map(), rotating()
        assert found(small(method="pd"), "field or map", given=X) is X
        assert found(small(method="pd"), "field or map", given=b) is b
        assert isinstance(found(small(method="pd", teacher=f"{__name__}:a_map"), "field or map"), FlowMap)

    @pytest.mark.parametrize(
        ("before", "method", "kind"),
        [
            ("fm", "pd", VelocityField),
            ("pd", "pd", FlowMap),
            ("fm", "reflow", VelocityField),
            ("pd", "lsd", VelocityField),
        ],
    )
    def test_a_run_gives_its_map_to_the_next_round_only(
        self, small: Make, before: str, method: str, kind: type[object]
    ) -> None:
        teacher = {} if before == "fm" else {"teacher": "problem:checkerboard"}
        run = train(small("before", method=before, steps=1, interpolant="trigonometric", **teacher), report=silent)
        config = small("after", method=method, teacher=str(run.folder.path))
        wanted = "field or map" if method != "lsd" else "field"
        assert isinstance(found(config, wanted), kind)


def test_a_method_with_a_teacher_says_what_it_misses(small: Make) -> None:
    with pytest.raises(ValueError, match="`teacher` must be given for lmd, got none; pass the folder of a run"):
        train(small(method="lmd"), report=silent)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train(small("other", method="lmd", teacher="nowhere"), report=silent)


def test_an_optional_teacher_may_be_missing(small: Make) -> None:
    assert found(small(method="ctm"), "optional field") is None
    assert found(small(method="fm"), "") is None


def test_a_parameterization_that_is_made_of_a_field_wants_a_teacher(small: Make) -> None:
    second = NetworkConfig(PERCEPTRON.kind, PERCEPTRON.options, "second-order")
    with pytest.raises(ValueError, match="`teacher` must be given for the second-order parameterization, got none"):
        found(small(method="fm", network=second), "")
    assert found(small(method="fm", network=second, teacher="problem:gaussian"), "") is not None
