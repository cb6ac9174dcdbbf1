"""The weight by the inverse speed of the schedule, and the law of the diagonal term."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from flowops import Interpolant, LearnedMap
from flowops.interpolants import cosine, encoding_decoding, linear, speed, variance_preserving
from flowops.methods import METHODS, Denoising, InverseSpeed, InverseStep, ShiftedSNR, TruncatedSNR, get_method
from flowops.runs.calls import parse_weight
from flowops.times import Diagonal, EndpointFixed, Step, Uniform, UniformAngle, UpperTriangle
from tests.examples import normal
from tests.methods.rows import call, learned


@pytest.mark.parametrize(("p", "floor"), [(2.0, 1.0), (1.0, 0.5), (3.0, 0.0)])
@pytest.mark.parametrize("name", ["fm", "meanflow", "lsd"])
def test_the_weight_is_a_power_of_the_speed_at_the_start_time(name: str, p: float, floor: float) -> None:
    I, X = variance_preserving(), learned()
    plain, weighted = (
        call(METHODS[name].with_options(**o), interpolant=I, X=X) for o in ({}, {"weight": InverseSpeed(p, floor)})
    )
    assert_close(weighted.per_sample, (speed(I, plain.s) ** 2 + floor**2) ** (-p / 2) * plain.per_sample)


def test_the_weight_may_look_at_the_end_time() -> None:
    I, X = cosine(), learned()
    plain = call(METHODS["fmm"], interpolant=I, X=X)
    weighted = call(get_method("fmm", weight=InverseSpeed(time="end")), interpolant=I, X=X)
    assert_close(weighted.per_sample, plain.per_sample / (speed(I, plain.t) ** 2 + 1))


def test_three_terms_have_a_speed_and_the_linear_schedule_a_constant_weight() -> None:
    three = call(get_method("fm", weight=InverseSpeed()), interpolant=encoding_decoding())
    assert three.loss.isfinite()
    plain, weighted = (call(get_method("fm", **o), interpolant=linear()) for o in ({}, {"weight": InverseSpeed()}))
    assert_close(weighted.per_sample, plain.per_sample / 3)


class Zero(torch.nn.Module):
    """The zero field."""

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_sample_outweighs_the_others_however_near_the_end(dtype: torch.dtype) -> None:
    I, n = variance_preserving(), 2000
    x0, x1 = normal(n, 2, seed=0, dtype=dtype), normal(n, 2, seed=1, dtype=dtype)
    near = 1 - torch.logspace(-1, -7, n, dtype=dtype)
    draw = get_method("fm").draw(LearnedMap(Zero()), I, x0, x1, seed=0)
    (term,) = draw.terms
    assert term is not None
    draw = draw._replace(terms=(term._replace(s=near, t=near),))
    bound = x0.square().sum(1) + x1.square().sum(1)
    weighted = get_method("fm", weight=InverseSpeed()).evaluate(LearnedMap(Zero()), I, draw).per_sample
    assert (weighted <= bound * (1 + 1e-5)).all()
    assert (get_method("fm").evaluate(LearnedMap(Zero()), I, draw).per_sample > 1000 * bound).any()


def test_the_repr_is_the_call_and_wrong_arguments_are_refused() -> None:
    assert repr(InverseSpeed(3.0, 0.0, "end")) == "InverseSpeed(p=3.0, floor=0.0, time='end')"
    wrong: list[dict[str, Any]] = [{"p": 0.0}, {"floor": -1.0}]
    for arguments in wrong:
        with pytest.raises(ValueError, match="`p` must be positive and `floor` not negative, got p="):
            InverseSpeed(**arguments)
    with pytest.raises(ValueError, match='`time` must be "start" or "end", got \'middle\''):
        InverseSpeed(time="middle")
    losses = torch.ones(2)
    with pytest.raises(ValueError, match="`interpolant` must be given to InverseSpeed, got None"):
        InverseSpeed()(losses, losses, losses, losses)


@pytest.mark.parametrize("name", ["ct", "ect", "ict"])
def test_a_step_in_noise_level_weighs_by_its_inverse(name: str) -> None:
    X, I = learned(), variance_preserving()
    options = {"law": Step(epsilon=0.3)}
    plain, weighted = (
        call(get_method(name, **options, **o), interpolant=I, X=X) for o in ({}, {"weight": InverseStep()})
    )
    end = plain.s + 0.3 * (1 - plain.s)
    step = I.alpha(plain.s) / I.beta(plain.s) - I.alpha(end) / I.beta(end)
    assert_close(weighted.per_sample, plain.per_sample / step)
    capped = call(get_method(name, **options, weight=InverseStep(1e-9)), interpolant=I, X=X)
    assert_close(capped.per_sample, torch.zeros_like(capped.per_sample))  # no step below its cap


def test_a_ddim_step_weighs_as_its_data() -> None:
    X, I = learned(), cosine()
    plain, weighted = (call(get_method("pd", **o), interpolant=I, X=X) for o in ({}, {"weight": TruncatedSNR()}))
    s, t = plain.s, plain.t
    gain = I.beta(t) - I.alpha(t) / I.alpha(s) * I.beta(s)
    signal = (I.beta(s) / I.alpha(s)).square().clamp(min=1)
    assert_close(weighted.per_sample, signal / gain**2 * plain.per_sample)


@pytest.mark.parametrize("I", [linear(), cosine()], ids=lambda I: I.name)
def test_flow_matching_weighs_as_the_denoiser_of_edm(I: Interpolant) -> None:
    X, sigma_data = learned(), 0.5
    plain, weighted = (call(get_method("lsd", **o), interpolant=I, X=X) for o in ({}, {"weight": Denoising()}))
    on = plain.s == plain.t
    t = plain.t[on]
    sigma = I.alpha(t) / I.beta(t)
    # of one velocity the denoiser is an affine function: its gain is that of two velocities one apart
    x, zero = torch.zeros(len(t), 1, dtype=t.dtype), torch.zeros(len(t), 1, dtype=t.dtype)
    gain = (I.convert(t, x, zero + 1, "velocity", "denoiser") - I.convert(t, x, zero, "velocity", "denoiser"))[:, 0]
    edm = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    assert_close(weighted.per_sample[on], edm * gain**2 * plain.per_sample[on])
    assert_close(weighted.per_sample[~on], plain.per_sample[~on])


@pytest.mark.parametrize(("b", "a"), [(5.0, 1.0), (4.0, 2.0)])
def test_the_noise_levels_of_moment_matching_weigh_as_they_are_printed(b: float, a: float) -> None:
    X, I = learned(), cosine()
    weight = ShiftedSNR(b, a)
    plain, weighted = (call(get_method("fm", **o), interpolant=I, X=X) for o in ({}, {"weight": weight}))
    s = plain.s.requires_grad_()
    log_snr = 2 * (I.beta(s) / I.alpha(s)).log()
    (rate,) = torch.autograd.grad(log_snr.sum(), s)
    wanted = torch.sigmoid(b - log_snr) * rate * I.beta(s) ** a / (I.alpha(s) ** 2 + I.beta(s) ** 2)
    assert_close(weighted.per_sample, (wanted * plain.per_sample).detach())
    ends, losses = torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    assert weight(losses, losses, ends, ends, interpolant=linear()).isfinite().all()


@pytest.mark.parametrize("weight", [InverseStep(), TruncatedSNR()], ids=repr)
def test_steps_of_length_zero_weigh_nothing(weight: Any) -> None:
    s = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    losses = torch.ones_like(s)
    known = {name: value for name, value in {"interpolant": linear(), "u": s}.items() if name in weight.wants}
    assert_close(weight(losses, losses, s, s, **known), torch.zeros_like(s))


def test_weights_of_steps_are_written_as_their_call_and_say_what_they_want() -> None:
    for weight in (InverseStep(), InverseStep(80.0), TruncatedSNR(), Denoising(0.3), ShiftedSNR(4.0, 2.0)):
        assert repr(parse_weight(repr(weight))) == repr(weight)
    with pytest.raises(ValueError, match="`sigma_data` must be positive, got 0.0; pass the deviation"):
        Denoising(0.0)
    with pytest.raises(ValueError, match="`a` must be at least 1, got 0.5; below it"):
        ShiftedSNR(a=0.5)
    with pytest.raises(ValueError, match="`most` must be positive, got 0"):
        InverseStep(0.0)
    with pytest.raises(ValueError, match="`weight` InverseStep must stand in a row with a time between s and t"):
        call(get_method("lmd", weight=InverseStep()))
    losses = torch.ones(2)
    with pytest.raises(ValueError, match="`interpolant` must be given to TruncatedSNR, got None"):
        TruncatedSNR()(losses, losses, losses, losses)
    with pytest.raises(ValueError, match="`weight` must be a number, a Weight, .* or \"learned\", got 'lerned'"):
        get_method("lmd", weight="lerned")


@pytest.mark.parametrize(
    "name",
    [name for name, m in METHODS.items() if "diagonal" in vars(m.options) and any(t.share == "eta" for t in m.terms)],
)
def test_the_diagonal_has_a_law_of_its_own(name: str) -> None:
    narrow = Uniform(0.25, 0.26)
    result = call(get_method(name, eta=0.5, diagonal=narrow), 8, interpolant=cosine())
    assert ((result.s[:4] >= 0.25) & (result.s[:4] <= 0.26)).all()
    assert_close(result.t[:4], result.s[:4], rtol=0, atol=0)
    plain = call(get_method(name, eta=0.5), 8, interpolant=cosine())
    assert not ((plain.s[:4] >= 0.25) & (plain.s[:4] <= 0.26)).all()


def test_the_two_laws_of_a_row_are_apart() -> None:
    result = call(get_method("lsd", eta=0.5, diagonal=UniformAngle(), law=EndpointFixed()), 8, interpolant=cosine())
    assert (result.t[4:] == 1).all()
    assert (result.t[:4] < 1).all()


def test_only_rows_with_a_diagonal_part_offer_its_law() -> None:
    for name in ("fm", "lmd", "cd"):
        with pytest.raises(TypeError, match="`diagonal` must be an option of"):
            get_method(name, diagonal=Uniform())
    wrong: list[Any] = [Diagonal(), UpperTriangle(), "uniform"]
    for law in wrong:
        with pytest.raises(ValueError, match="`diagonal` must be None or a law of one time"):
            get_method("lsd", diagonal=law)
