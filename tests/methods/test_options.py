"""The options of the rows: what each is, the values it may have, what it changes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import VelocityField, guided, interpolants
from flowops.methods import (
    METHODS,
    Adaptive,
    Exponential,
    InverseGuidance,
    Laplace,
    Learned,
    Lp,
    MeanSquared,
    PseudoHuber,
    Sigmoid,
    Squared,
    TimePower,
    Weight,
    get_method,
    row,
)
from flowops.methods.options import ETA, NEUTRAL, NORM, NORMALIZE, SHARED
from flowops.networks import LearnedWeight
from flowops.times import Diagonal, EndpointFixed, Trajectory, UpperTriangle
from tests.examples import normal
from tests.methods.rows import NAMES, WITH_LABELS, batch, call, gradient, learned


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_meaning_and_every_paper_setting_runs(name: str) -> None:
    method = METHODS[name]
    assert set(method.given) == set()
    assert all(option.meaning and option.wanted for option in method.row.options)
    for step in (5, None):
        assert call(get_method(name, paper=True), step=step, average=learned(seed=70)).loss.isfinite()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lds", {}, "did you mean 'lsd'"),
        ("lsd", {"etta": 1.0}, "did you mean 'eta'"),
        (
            "lsd",
            {"lam": 0.1},
            "`lam` must be an option of lsd, which has balance, c, decay, derivatives, diagonal, dropout, ema_teacher",
        ),
        ("lsd", {"eta": 1.5}, r"`eta` must be a fraction in \[0, 1\], got 1.5"),
        ("lsd", {"eta": True}, "`eta` must be a fraction"),
        ("lsd", {"law": "uniform"}, "`law` must be None or a TimeLaw"),
        ("lsd", {"norm": "l7"}, "`norm` must be a Norm or one of squared"),
        ("lsd", {"weight": -1.0}, "`weight` must be positive"),
        ("lsd", {"weight": torch.nn.Linear(2, 1)}, r"wrap it as Learned\(module\)"),
        ("lsd", {"p": -1.0}, "`p` must be a number, at least 0"),
        ("emd", {"normalize": 0.1}, "`normalize` must be None without a stop-gradient"),
        ("emd", {"form": "both"}, "`form` must be one of map, velocity"),
        ("cd", {"solver": "dopri5"}, "`solver` must be one of ddim, euler"),
        ("discrete-emd", {"epsilon": 0.0}, r"`epsilon` must be None or a fraction in \(0, 1\]"),
        ("pfmm", {"K": 0}, "`K` must be a number of steps, at least 1"),
        ("pfmm", {"guidance": 2.0}, "`guidance` must be 1 for a method without a velocity to guide"),
        ("alpha-flow", {"anneal": (5, 5)}, "`anneal` must be two increasing"),
        ("regression", {"steps": 0}, "`steps` must be None or a number of steps, at least 1"),
        (
            "lsd",
            {"start": "trajectory"},
            '`start` must be "interpolant" or "pushforward" for lsd, which has no teacher',
        ),
        ("facm", {"clamp": 0.0}, "`clamp` must be None or a positive number"),
        ("facm", {"cosine": -1.0}, "`cosine` must be a number, at least 0"),
        ("tcm", {"transition": 1.0}, r"`transition` must be a time in \(0, 1\)"),
        ("imm", {"particles": 0}, "`particles` must be None or a number of samples, at least 1"),
        ("imm", {"norm": "laplac"}, "`norm` must be a Norm or one of squared"),
        ("fm", {"guidance_interval": (0.1, 0.9)}, "`guidance_interval` must be None where nothing is guided"),
        ("fm", {"guidance": 2.0, "guidance_interval": (0.9, 0.1)}, "must be None, two increasing times"),
        ("fm", {"guidance": 2.0, "guidance_interval": ("a", "b")}, "must be None, two increasing times"),
        ("alpha-flow", {"anneal": (0.0, 5)}, "`anneal` must be two increasing numbers of steps, got 0.0 and 5"),
        ("alpha-flow", {"anneal": "cosine"}, "`anneal` must be an annealing, one of sigmoid, exponential, or two"),
        ("meanflow", {"tangent": 1.5}, r"`tangent` must be a number in \[0, 1\], got 1.5"),
        ("lsd", {"inverse": -1.0}, "`inverse` must be a finite number, at least 0, got -1.0"),
        ("lsd", {"derivatives": "backward"}, '`derivatives` must be "forward" or "central", got \'backward\''),
        ("psd-u", {"derivatives": "central"}, "`derivatives` must be an option of psd-u"),
        ("contrastive-fm", {"lam": 1.0}, r"`lam` must be a number in \[0, 1\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unknown_names_and_values_say_what_exists(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        get_method(name, **options)


def test_options_add_up() -> None:
    method = get_method("lsd", eta=0.5).with_options(p=1.0)
    assert method.given == {"eta": 0.5, "p": 1.0}
    assert "eta=0.5, p=1.0" in repr(method)
    assert METHODS["lsd"].given == {}


def test_the_law_is_that_of_the_last_term() -> None:
    result = call(get_method("lsd", law=EndpointFixed(), eta=0.5), 8)
    assert (result.t[4:] == 1).all()
    assert (result.s[:4] == result.t[:4]).all()
    assert (result.t[:4] != 1).all()


def test_the_diagonal_of_meanflow_is_its_law_collapsed_onto_the_start_times() -> None:
    result = call(get_method("meanflow", law=EndpointFixed(), eta=0.5), 8)
    assert (result.s[:4] == result.t[:4]).all()
    assert (result.t[:4] < 1).all()


@pytest.mark.parametrize("name", ["fm", "reflow", "contrastive-fm"])
def test_a_regression_on_the_diagonal_takes_the_start_times_of_any_law(name: str) -> None:
    result = call(get_method(name, law=UpperTriangle()))
    assert_close(result.s, result.t, rtol=0, atol=0)
    assert_close(result.s, call(get_method("lmd", law=UpperTriangle())).s, rtol=0, atol=0)


def test_weights_scale_the_loss_of_each_sample() -> None:
    plain = call(METHODS["lmd"])
    tripled = call(get_method("lmd", weight=3.0))
    power = call(get_method("lmd", weight=TimePower(2.0)))
    function = call(get_method("lmd", weight=lambda s, t: (t - s) ** 2))
    assert_close(tripled.per_sample, 3 * plain.per_sample)
    assert_close(power.per_sample, (plain.t - plain.s) ** 2 * plain.per_sample)
    assert_close(power.per_sample, function.per_sample)


def test_the_adaptive_weight_makes_samples_pull_alike() -> None:
    result = call(get_method("lmd", p=1.0, c=1e-12))
    assert_close(result.per_sample, torch.ones_like(result.per_sample))
    assert_close(call(get_method("lmd", weight=Adaptive(1.0, 1e-12))).loss, result.loss)


def test_the_learned_weight_is_minimal_at_the_logarithm_of_the_loss() -> None:
    weight = Learned(LearnedWeight().double())
    method = get_method("lmd", weight=weight)
    plain = call(METHODS["lmd"])
    assert_close(call(method).loss, plain.loss)  # w starts at zero
    assert len(list(method.parameters())) == len(list(weight.parameters()))
    w = normal(6).requires_grad_()
    fixed = torch.nn.Module()
    fixed.forward = lambda *_: w
    (slope,) = torch.autograd.grad(call(get_method("lmd", weight=Learned(fixed))).loss, w)
    assert_close(6 * slope, 1 - torch.exp(-w) * plain.per_sample)


def test_norms_against_numbers_worked_out_by_hand() -> None:
    delta = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    assert_close(PseudoHuber(12.0)(delta), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert_close(Lp(3.0)(delta), torch.tensor([91.0, 0.0], dtype=torch.float64))
    assert_close(Lp(1.0)(delta[:, 0]), torch.tensor([3.0, 0.0], dtype=torch.float64))
    assert_close(MeanSquared()(delta), Squared()(delta) / delta.shape[1])
    assert_close(Laplace(0.5)(delta), 1 - torch.exp(-2 * Squared()(delta).sqrt() / delta.shape[1]), rtol=0, atol=1e-5)
    still = torch.zeros(2, 3, requires_grad=True)
    assert torch.equal(Laplace()(still), torch.zeros(2))
    assert torch.equal(torch.autograd.grad(Laplace()(still).sum(), still)[0], torch.zeros(2, 3))
    small = PseudoHuber()(1e-9 * delta) / (1e-18 * 25)
    assert_close(small[0].item(), 1 / (2 * 0.00054 * 2**0.5), rtol=1e-2, atol=0)


def test_a_normalization_beside_groups_is_refused() -> None:
    imm = METHODS["imm"].row
    mine = row("mine", *METHODS["imm"].terms, options=(*imm.options, NORMALIZE), source="this test", summary="Mine.")
    with pytest.raises(ValueError, match="`normalize` must be None where groups are compared, got 0.1 beside partic"):
        get_method(mine, normalize=0.1)
    get_method(mine, normalize=0.1, particles=None)


def test_a_normalized_tangent_has_length_below_one() -> None:
    result = call(get_method("ayf-emd", normalize=0.1))
    plain = call(METHODS["ayf-emd"]).per_sample.sqrt()
    assert_close(result.per_sample.sqrt(), plain / (plain + 0.1))


def test_warm_up_starts_from_flow_matching_against_the_teacher() -> None:
    X = learned()
    slopes = {}
    for step in (0, 50, 100, None):
        method = get_method("ayf-emd", warmup=100)
        slopes[step] = gradient(call(method, X=X, step=step).loss, X)
    assert_close(slopes[50], (slopes[0] + slopes[100]) / 2)
    assert_close(slopes[100], slopes[None])
    assert not torch.allclose(slopes[0], slopes[100])


def test_labels_reach_the_map_and_dropped_ones_are_null() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    plain = call(METHODS["fm"]).per_sample
    with_labels = call(METHODS["fm"], labels=labels).per_sample
    null = call(METHODS["fm"], labels=torch.full((6,), WITH_LABELS)).per_sample
    dropped = call(get_method("fm", label_dropout=1.0, law=Diagonal()), labels=labels).per_sample
    assert not torch.allclose(plain, with_labels)
    assert_close(dropped, null)
    half = call(get_method("fm", label_dropout=0.5), 6, labels=labels).per_sample
    from_null, from_label = torch.isclose(half, null), torch.isclose(half, with_labels)
    assert (from_null ^ from_label).all()


def test_guidance_moves_the_target_by_the_scale() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    X, teacher = learned(), learned(seed=50).velocity()
    t = torch.linspace(0.1, 0.9, 6, dtype=torch.float64)
    null = torch.full((6,), WITH_LABELS)
    x = normal(6, 2, seed=9)
    cond, free = teacher.given(label=labels)(t, x), teacher.given(label=null)(t, x)
    target = guided(teacher.given(label=labels), teacher.given(label=null), 2.5)
    direct = call(METHODS["lmd"], X=X.given(label=labels), teacher=target).loss
    option = call(get_method("lmd", guidance=2.5), X=X, teacher=teacher, labels=labels).loss
    assert_close(option, direct)
    assert_close(target(t, x), free + 2.5 * (cond - free))


@pytest.mark.parametrize("option", [{"guidance": 2.0}, {"label_dropout": 0.1}])
def test_options_about_labels_need_labels(option: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="`labels` must be given with"):
        call(get_method("fm", **option))


def test_the_null_label_must_be_known() -> None:
    X = learned()
    X.network.__class__ = type("Nameless", (type(X.network),), {"null_label": None})
    with pytest.raises(ValueError, match="`null_label` must be known"):
        call(get_method("fm", label_dropout=0.5), X=X, labels=torch.zeros(6, dtype=torch.int64))


def test_alpha_falls_from_trajectory_matching_to_meanflow() -> None:
    X = learned()
    method = get_method("alpha-flow", anneal=(10, 90), law=UpperTriangle())
    start, end = (gradient(call(method, X=X, step=step).loss, X) for step in (0, 90))
    assert_close(start, gradient(call(get_method("alpha-flow", alpha=1.0), X=X).loss, X))
    assert_close(end, gradient(call(METHODS["meanflow"], X=X).loss, X))
    middle = gradient(call(method, X=X, step=50).loss, X)
    assert_close(middle, gradient(call(get_method("alpha-flow", alpha=0.5), X=X).loss, X))


def test_alpha_falls_exponentially_to_a_floor() -> None:
    with pytest.raises(ValueError, match=r"`first` and `floor` must be falling in \(0, 1\], got 1.0 and 0.0"):
        Exponential(floor=0.0)
    law = Exponential(10, 90, 0.8, 0.05)
    assert [law.at(step) for step in (0, 10)] == [0.8, 0.8]
    assert_close([law.at(50), law.at(90), law.at(None)], [0.2, 0.05, 0.05])
    X, method = learned(), get_method("alpha-flow", anneal=law)
    for step, alpha in ((0, 0.8), (50, 0.2), (None, 0.05)):
        found = gradient(call(method, X=X, step=step).loss, X)
        assert_close(found, gradient(call(get_method("alpha-flow", alpha=alpha), X=X).loss, X))
    assert get_method("alpha-flow", anneal="exponential").options.anneal == Exponential()
    assert get_method("alpha-flow", anneal=(3, 9)).options.anneal == Sigmoid(3, 9)


@pytest.mark.parametrize("name", ["lsd", "meanflow", "pfmm", "ct", "alpha-flow", "fmm"])
def test_the_inverse_is_added_to_the_last_term_alone(name: str) -> None:
    """As it stands, whatever the norm, the weight and the stop-gradient are; all of it is differentiated."""
    X = learned()
    options = {"norm": "l1", "p": 1.0, "weight": 3.0}
    calls: list[int] = []
    X.network.register_forward_hook(lambda *_: calls.append(1))
    plain = call(get_method(name, **options), X=X)
    before = len(calls)
    added = call(get_method(name, inverse=0.7, **options), X=X)
    assert len(calls) == 2 * before + 2
    rows = slice(6 - len(plain.s), None) if "diagonal" not in plain.terms else slice(round(0.75 * 6), None)
    x0, x1 = batch(6)
    s, t = plain.s[rows], plain.t[rows]
    x = interpolants.linear()(s, x0[rows], x1[rows])
    squared = 0.7 * (X(t, s, X(s, t, x)) - x).square().sum(1)
    assert_close(added.per_sample[rows] - plain.per_sample[rows], squared)
    assert_close(added.per_sample[: rows.start], plain.per_sample[: rows.start])
    if name != "fmm":  # which has one of its own
        assert_close(added.terms["inverse"], squared.sum() / 6)
    slope = gradient(added.loss, X) - gradient(plain.loss, X)
    assert_close(slope, gradient(squared.sum() / 6, X))


def test_a_whole_trajectory_averages_its_points() -> None:
    method = get_method("regression", points=3)
    X, teacher = learned(), learned(seed=60)
    result = call(method, X=X, teacher=teacher)
    x0, x1 = normal(6, 2, seed=5), 0.5 * normal(6, 2, seed=6) + 1
    x = (1 - result.s[:, None]) * x0 + result.s[:, None] * x1
    squares = []
    for j in (1, 2, 3):
        t = result.s + (result.t - result.s) * j / 3
        squares.append((X(result.s, t, x) - teacher(result.s, t, x)).square().sum(1))
    assert_close(result.per_sample, torch.stack(squares).mean(0))


def test_a_teacher_without_labels_is_not_guided_silently() -> None:
    labels = torch.zeros(6, dtype=torch.int64)
    plain = VelocityField.from_function(lambda _t, x: -x)
    with pytest.raises(ValueError, match="`teacher` must take a `label` to be guided"):
        call(get_method("lmd", guidance=2.0), teacher=plain, labels=labels)
    assert call(METHODS["lmd"], teacher=plain, labels=labels).loss.isfinite()
    assert call(get_method("meanflow", guidance=2.0), teacher=plain, labels=labels).loss.isfinite()


def test_an_option_says_what_it_is_and_which_values_it_may_have() -> None:
    assert (ETA.name, ETA.default, ETA.meaning) == ("eta", 1.0, "fraction of the batch on the diagonal")
    assert ETA.checked(0.25) == 0.25
    assert ETA.holds(1)
    assert not ETA.holds(1.01)
    with pytest.raises(
        ValueError, match=r"`eta` must be a fraction in \[0, 1\], got 2.0; the option is fraction of the"
    ):
        ETA.checked(2.0)
    assert NORM.checked("l1") == Lp(1.0)


def test_an_option_with_another_default_is_another_option() -> None:
    half = ETA(0.5)
    assert (half.default, ETA.default) == (0.5, 1.0)
    assert replace(half, default=1.0) == ETA
    with pytest.raises(FrozenInstanceError):
        half.default = 0.1  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_every_default_is_a_value_that_its_option_may_have(name: str) -> None:
    method = METHODS[name]
    names = [option.name for option in method.row.options]
    assert len(set(names)) == len(names)
    for option in method.row.options:
        value, held = option.checked(option.default), getattr(method.options, option.name)
        assert value is held or value == held


def test_the_values_of_a_method_are_frozen() -> None:
    method = get_method("lsd", eta=0.5)
    with pytest.raises(FrozenInstanceError):
        method.options.eta = 0.7
    assert method.options.eta == 0.5
    assert METHODS["lsd"].options.eta == 0.75


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shortcut", {"guidance": (1.0, 2.0), "guides": "own"}, "`finest` must be a length with guides=.own. for shor"),
        ("ct", {"one_mask": True, "ema_teacher": True}, "`one_mask` must be False with ema_teacher=True"),
        ("lsd", {"guidance": 0.0, "weight": InverseGuidance()}, "`guidance` must keep away from 0 with InverseGuid"),
        ("lsd", {"guidance": (-1.0, 2.0), "weight": InverseGuidance()}, "`guidance` must keep away from 0 with Inv"),
        ("cmt", {"law": Trajectory(), "points": 4}, "`points` must be 1 with Trajectory.*, got 4; leave it out"),
        ("cmt", {"law": Trajectory(), "steps": 3}, "`steps` must be 8 with Trajectory"),
        ("cmt", {"paper": True, "start": "interpolant"}, "`start` must be 'trajectory' with Trajectory"),
        ("cmt", {"paper": True, "weight": TimePower(2.0)}, "`weight` must look at no times with Trajectory"),
        ("regression", {"law": Trajectory(), "weight": "learned"}, "`weight` must look at no times with Trajectory"),
    ],
)
def test_what_would_have_no_effect_or_a_wrong_one_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_method(name, **options)


@pytest.mark.parametrize("weight", [2.0, Adaptive(1.0), InverseGuidance()])
def test_a_whole_trajectory_has_weights_that_look_at_no_times(weight: float | Weight) -> None:
    assert get_method("cmt", law=Trajectory(), weight=weight, steps=8, points=1).weight is not None


@pytest.mark.parametrize("name", NAMES)
def test_an_option_that_a_row_lacks_is_refused_with_those_that_it_has(name: str) -> None:
    offered = {option.name for option in METHODS[name].row.options}
    for option in NEUTRAL:
        if option.name in offered:
            continue
        assert getattr(METHODS[name].options, option.name) == option.default
        with pytest.raises(TypeError, match=f"`{option.name}` must be an option of {name}, which has ") as caught:
            get_method(name, **{option.name: option.default})
        said = str(caught.value).partition("which has ")[2].partition(";")[0].rstrip(".")
        assert set(said.split(", ")) == offered


def test_every_row_has_the_shared_options_with_a_default_of_its_own_at_most() -> None:
    for method in METHODS.values():
        named = {option.name: option for option in method.row.options}
        assert all(replace(named[option.name], default=option.default) == option for option in SHARED)
        assert {option.name for option in SHARED if named[option.name] != option} == (
            {"norm"} if method.name == "imm" else set()
        )
