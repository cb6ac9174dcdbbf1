"""The one call that all methods share: what it takes, what it returns, what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from flowops import LearnedMap, SolutionOperator, VelocityField, interpolants
from flowops.methods import METHODS, MethodResult, get_method
from tests.examples import normal
from tests.methods.rows import NAMES, batch, call, gradient, learned, teacher_for


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("event", [(), (2,), (1, 3, 2)], ids=["scalar", "vector", "image"])
def test_every_row_takes_every_event_and_its_terms_sum_to_the_batch_mean(name: str, event: tuple[int, ...]) -> None:
    result = call(METHODS[name], 6, event)
    assert isinstance(result, MethodResult)
    assert result.loss.shape == ()
    assert result.per_sample.shape == result.s.shape == result.t.shape == (6,)
    assert_close(result.loss, result.per_sample.mean())
    assert_close(result.loss, torch.stack(list(result.terms.values())).sum())
    assert list(result.terms) == list(result.per_term)
    assert result.nonfinite() is None


@pytest.mark.parametrize("name", NAMES)
def test_every_row_trains_every_parameter_that_moves_the_map(name: str) -> None:
    X = learned()
    slope = gradient(call(METHODS[name], X=X).loss, X)
    assert slope.isfinite().all()
    first, last, _, rate = slope.split([p.numel() for p in X.parameters()])  # the classes enter with labels only
    assert (first.reshape(4, -1)[:2] != 0).all()  # the weights of x; s, or t - s, may be zero throughout
    assert (last != 0).all()
    assert (rate != 0).all() if METHODS[name].joint else (rate == 0).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "contrastive-fm"])
def test_a_batch_of_one_has_one_term(name: str) -> None:
    for seed in range(3):
        result = call(METHODS[name], 1, seed=seed)
        assert result.per_sample.shape == (1,)
        assert result.loss.isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single_and_times_of_half_states_are_single(name: str) -> None:
    method = METHODS[name]
    x0, x1 = batch(4, dtype=torch.float32)
    X, teacher = learned(dtype=torch.float32), teacher_for(method, dtype=torch.float32)
    result = method(X, interpolants.linear(), x0, x1, teacher=teacher, seed=1)
    assert result.loss.dtype == torch.float32
    assert result.s.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_draws_follow_from_the_generator_and_are_repeated_from_the_recorded_seed(name: str) -> None:
    method = METHODS[name]
    first = call(method, generator=torch.Generator().manual_seed(4))
    again = call(method, generator=torch.Generator().manual_seed(4))
    replay = call(method, seed=int(first.seed))
    other = call(method, generator=torch.Generator().manual_seed(5))
    assert_close(first.per_sample, again.per_sample, rtol=0, atol=0)
    assert_close(first.per_sample, replay.per_sample, rtol=0, atol=0)
    assert not torch.equal(first.seed, other.seed)
    if name not in ("pd",):  # its last round has a single pair of times
        assert not torch.equal(first.s, other.s)


def test_a_latent_is_drawn_where_the_interpolant_has_one() -> None:
    I = interpolants.encoding_decoding()
    first, second = (call(METHODS["fm"], interpolant=I, seed=seed).loss for seed in (1, 2))
    assert first.isfinite()
    assert first != second


@pytest.mark.parametrize("eta", [0.0, 0.25, 0.75, 1.0])
def test_eta_is_the_fraction_of_the_batch_on_the_diagonal(eta: float) -> None:
    result = call(get_method("lsd", eta=eta), 8)
    assert int((result.s == result.t).sum()) == round(8 * eta)
    assert set(result.terms) == (
        {"diagonal"} if eta == 1 else {"lagrangian"} if eta == 0 else {"diagonal", "lagrangian"}
    )


def test_both_parts_of_a_split_batch_keep_at_least_one_row() -> None:
    for eta, on_diagonal in ((0.01, 1), (0.99, 3)):
        result = call(get_method("lsd", eta=eta), 4)
        assert int((result.s == result.t).sum()) == on_diagonal


def test_a_teacher_gets_no_gradient() -> None:
    teacher = learned(seed=20)
    x0, x1 = batch(5)
    for name in ("lmd", "emd", "cd", "discrete-lmd"):
        result = METHODS[name](learned(), interpolants.linear(), x0, x1, teacher=teacher.velocity(), seed=0)
        result.loss.backward()
        assert all(p.grad is None for p in teacher.parameters())


def test_rows_that_need_no_teacher_ignore_one() -> None:
    for name in ("fm", "lsd", "meanflow", "ct"):
        plain, given = (call(METHODS[name], teacher=b).loss for b in (None, learned(seed=30).velocity()))
        assert_close(plain, given, rtol=0, atol=0)


def test_a_row_of_a_joint_map_refuses_another_one() -> None:
    X, (x0, x1) = LearnedMap(learned().network), batch(4)
    with pytest.raises(TypeError, match="`X` must be a JointMap for f2d2, got LearnedMap; build LearnedJointMap"):
        METHODS["f2d2"](X, interpolants.linear(), x0, x1)
    with pytest.raises(TypeError, match="`average` must be a JointMap with ema_teacher=True, got LearnedMap"):
        get_method("f2d2", ema_teacher=True)(learned(), interpolants.linear(), x0, x1, average=X)


def test_scm_distils_a_teacher_and_trains_without_one() -> None:
    method, x = METHODS["scm"], batch(6)
    exact = VelocityField.from_function(lambda _t, y: -y)
    with_teacher = method(SolutionOperator(exact), interpolants.linear(), *x, teacher=exact, seed=1).loss
    without = method(SolutionOperator(exact), interpolants.linear(), *x, seed=1).loss
    assert with_teacher < 1e-14 < 1e-2 < without


def test_the_push_forward_of_the_base_replaces_the_data() -> None:
    X, (x0, x1) = learned(), batch(6)
    method = get_method("lmd", start="pushforward")
    teacher = teacher_for(method)
    losses = [method(X, interpolants.linear(), x0, data, teacher=teacher, seed=1).loss for data in (x1, 100 * x1)]
    assert_close(*losses, rtol=0, atol=0)
    assert losses[0] != get_method("lmd")(X, interpolants.linear(), x0, x1, teacher=teacher, seed=1).loss


def test_a_non_finite_loss_names_term_sample_and_times() -> None:
    x0, x1 = batch(8)
    x1[7] = torch.nan
    result = METHODS["lsd"](learned(), interpolants.linear(), x0, x1, seed=9)
    where = result.nonfinite()
    assert where is not None
    assert (where.term, where.sample, where.seed) == ("lagrangian", 7, 9)
    assert where.s == result.s[7].item()
    assert "sample 7" in str(where)
    assert "seed=9" in str(where)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": None}, "`teacher` must be a VelocityField for lmd, got none"),
        ({"teacher": learned()}, r"got LearnedJointMap; pass teacher=b, or X.velocity\(\) of a map X"),
        ({"labels": torch.zeros(4, dtype=torch.int64)}, "one entry per sample, 6, got"),
        ({"interpolant": "linear"}, "`interpolant` must be of type Interpolant, got str"),
        ({"X": 3}, "`X` must be of type FlowMap, got int"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_get_one_sentence(change: dict[str, object], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        call(METHODS["lmd"], **change)  # type: ignore[arg-type]


def test_samples_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="`x1` must have the shape of `x0`"):
        METHODS["fm"](learned(), interpolants.linear(), normal(4, 2), normal(3, 2))


def test_a_contrast_needs_two_samples() -> None:
    with pytest.raises(ValueError, match="at least two samples"):
        call(METHODS["contrastive-fm"], 1)
