"""Guidance with a scale per sample: what is drawn, what the map is told, what it is fitted to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowops import LearnedMap, VelocityField, guided, interpolants
from flowops.maps import LearnedJointMap
from flowops.methods import (
    METHODS,
    Draw,
    InverseGuidance,
    Method,
    MethodResult,
    PowerLaw,
    RandomInterval,
    get_method,
)
from flowops.networks import MLP
from flowops.runs.assembly import READERS
from flowops.runs.calls import parse_guidance
from flowops.times import Uniform, UpperTriangle
from tests.examples import normal, over
from tests.methods.rows import WITH_LABELS, batch, gradient
from tests.programs import run

RANGE = (0.5, 3.0)
LABELS = torch.arange(8) % WITH_LABELS
NULL = torch.full_like(LABELS, WITH_LABELS)
GUIDED_ROWS = [
    name
    for name, method in METHODS.items()
    if any(term.guided and term.velocity for term in method.terms) and name != "pd"
]


class Scaled(nn.Module):
    """A network of a label and a guidance scale, which without one is at scale 1."""

    null_label = WITH_LABELS

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.first = nn.Parameter(normal(4, 8, seed=seed) / 2)
        self.last = nn.Parameter(normal(8, 2, seed=seed + 1) / 2)
        self.classes = nn.Parameter(normal(WITH_LABELS + 1, 8, seed=seed + 2) / 2)
        self.scales = nn.Parameter(normal(8, seed=seed + 3) / 2)

    def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor | None = None) -> Tensor:
        return self.value_and_log_det_rate(s, t, x, label, guidance)[0]

    def value_and_log_det_rate(
        self, s: Tensor, t: Tensor, x: Tensor, label: Tensor, guidance: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        scale = torch.ones_like(s) if guidance is None else guidance
        features = torch.cat([x, s[:, None], (t - s)[:, None]], 1) @ self.first + self.classes[label]
        value = torch.tanh(features + (scale[:, None] - 1) * self.scales) @ self.last
        return value, value.sum(1)


class ByLabel(VelocityField):
    """A plain conditional field."""

    def forward(self, t: Tensor, x: Tensor, label: Tensor) -> Tensor:
        return torch.sin(over(label + t, x) + x)


def step(method: Method, X: LearnedMap, **options: Any) -> tuple[Draw, MethodResult]:
    """One call on a small labelled batch."""
    operators = {"average": options.pop("average", None)}
    operators["teacher"] = options.pop(
        "teacher", ByLabel() if method.row.teacher in ("field", "field or map") else None
    )
    x0, x1 = batch(8)
    I = interpolants.linear()
    draw = method.draw(X, I, x0, x1, labels=LABELS, seed=3, **operators)
    return draw, method.evaluate(X, I, draw, **operators)


def test_scales_are_drawn_between_the_ends_and_a_dropped_label_has_scale_one() -> None:
    method = get_method("fm", guidance=RANGE, label_dropout=0.5)
    x0, x1 = batch(2000)
    labels = torch.arange(2000) % WITH_LABELS
    drawn = method.draw(LearnedMap(Scaled()), interpolants.linear(), x0, x1, labels=labels, seed=3).terms[0]
    assert drawn is not None
    assert drawn.guidance is not None
    scales = drawn.guidance[drawn.kept]
    assert_close(drawn.guidance[~drawn.kept], torch.ones(int((~drawn.kept).sum()), dtype=torch.float64))
    assert RANGE[0] <= scales.min() < RANGE[0] + 0.05
    assert RANGE[1] - 0.05 < scales.max() <= RANGE[1]
    assert abs(scales.mean() - sum(RANGE) / 2) < 5 * (RANGE[1] - RANGE[0]) / (12 * len(scales)) ** 0.5


@pytest.mark.parametrize("name", ["fm", "lsd", "meanflow", "psd-u"])
def test_a_single_scale_draws_what_it_always_drew(name: str) -> None:
    x0, x1 = batch(8)
    X, I = LearnedMap(Scaled()), interpolants.linear()
    given: dict[str, Any] = {"labels": LABELS, "seed": 3}
    plain = get_method(name, label_dropout=0.5).draw(X, I, x0, x1, **given)
    scaled = get_method(name, label_dropout=0.5, guidance=2.0).draw(X, I, x0, x1, **given)
    for one, two in zip(plain.terms, scaled.terms, strict=True):
        assert one is not None
        assert two is not None
        assert two.guidance is None
        assert_close((one.s, one.t, one.kept), (two.s, two.t, two.kept), rtol=0, atol=0)


def test_the_target_of_a_conditional_source_is_guided_by_the_own_field_on_the_null_label() -> None:
    X = LearnedMap(Scaled())
    draw, result = step(get_method("fm", guidance=RANGE, label_dropout=0.3), X)
    (drawn,) = draw.terms
    assert drawn is not None
    assert drawn.labels is not None
    assert drawn.guidance is not None
    x = interpolants.linear()(drawn.t, drawn.x0, drawn.x1)
    value = X.network(drawn.t, drawn.t, x, drawn.labels, drawn.guidance)
    null = X.network(drawn.t, drawn.t, x, NULL, torch.ones_like(drawn.t)).detach()
    target = null + drawn.guidance[:, None] * (drawn.x1 - drawn.x0 - null)
    assert_close(result.per_sample, (value - target).square().sum(1))
    expected = gradient((value - target).square().sum(1).mean(), X)
    assert_close(gradient(result.loss, X), expected)


@pytest.mark.parametrize("name", ["meanflow", "alpha-flow"])
def test_nothing_is_guided_or_mixed_outside_the_interval(name: str) -> None:
    X, I, (x0, x1) = LearnedMap(Scaled()), interpolants.linear(), batch(8)

    def found(**options: Any) -> Tensor:
        method = get_method(name, eta=0.0, law=UpperTriangle(Uniform(0.2, 0.25)), **options)
        return method(X, I, x0, x1, labels=LABELS, seed=3).loss

    plain, mixed = found(), found(guidance=2.0, mix=0.8)
    assert_close(found(guidance=2.0, mix=0.8, guidance_interval=(0.3, 0.8)), plain)
    assert_close(found(guidance=2.0, mix=0.8, guidance_interval=(0.1, 0.3)), mixed)
    assert not torch.isclose(plain, mixed, rtol=1e-3)


def test_a_teacher_field_is_guided_by_the_scale_of_each_sample() -> None:
    X, b = LearnedMap(Scaled()), ByLabel()
    method = get_method("lmd", guidance=RANGE)
    draw, result = step(method, X, teacher=b)
    (drawn,) = draw.terms
    assert drawn is not None
    assert drawn.guidance is not None
    target = guided(b.given(label=LABELS), b.given(label=NULL), drawn.guidance)
    own = X.given(label=LABELS, guidance=drawn.guidance)
    x = interpolants.linear()(drawn.s, drawn.x0, drawn.x1)
    value, dt = own.value_and_dt(drawn.s, drawn.t, x)
    assert_close(result.per_sample, (dt - target(drawn.t, value)).square().sum(1))


@pytest.mark.parametrize(("name", "steps"), [("regression", 1), ("pd", 2)])
def test_a_teacher_map_is_told_the_scale(name: str, steps: int) -> None:
    X, teacher = LearnedMap(Scaled()), LearnedMap(Scaled(5)).requires_grad_(False)
    draw, result = step(get_method(name, guidance=RANGE), X, teacher=teacher)
    (drawn,) = draw.terms
    assert drawn is not None
    told = {"label": LABELS, "guidance": drawn.guidance}
    x = interpolants.linear()(drawn.s, drawn.x0, drawn.x1)
    grid = [torch.lerp(drawn.s, drawn.t, i / steps) for i in range(steps + 1)]
    target = teacher.given(**told).compose(grid, x)
    assert_close(result.per_sample, (X.given(**told)(drawn.s, drawn.t, x) - target).square().sum(1))


@pytest.mark.parametrize("name", GUIDED_ROWS)
def test_every_row_with_a_velocity_to_guide_takes_a_range(name: str) -> None:
    X = LearnedJointMap(Scaled())
    result = step(get_method(name, guidance=RANGE, label_dropout=0.2), X)[1]
    assert result.loss.isfinite()
    assert gradient(result.loss, X)[-8:].abs().min() > 0  # the weights of the scale are trained


@pytest.mark.parametrize("name", ["lsd", "psd-m"])
def test_an_average_of_the_map_is_told_the_scale_too(name: str) -> None:
    X = LearnedMap(Scaled())
    plain, averaged = (
        gradient(step(get_method(name, guidance=RANGE, ema_teacher=ema), X, average=X)[1].loss, X)
        for ema in (False, True)
    )
    assert_close(plain, averaged)


def test_a_range_of_one_number_is_that_number() -> None:
    X = LearnedMap(Scaled())
    drawn = step(get_method("fm", guidance=(2.0, 2.0)), X)[0].terms[0]
    assert drawn is not None
    assert drawn.guidance is not None
    assert_close(drawn.guidance, torch.full((8,), 2.0, dtype=torch.float64))


@pytest.mark.parametrize("value", [(3.0, 1.0), (1.0,), (1.0, float("inf")), (1.0, True), [1.0, 2.0], "strong"])
def test_what_is_no_scale_and_no_range_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"`guidance` must be a finite number, a pair \(low, high\)"):
        get_method("lsd", guidance=value)


def test_a_range_needs_labels_a_velocity_and_a_network_that_takes_it() -> None:
    x0, x1 = batch(8)
    I = interpolants.linear()
    method = get_method("lsd", guidance=RANGE)
    with pytest.raises(ValueError, match="`labels` must be given with guidance="):
        method.draw(LearnedMap(Scaled()), I, x0, x1, seed=1)
    with pytest.raises(ValueError, match="`guidance` must be 1 for a method without a velocity"):
        get_method("ct", guidance=RANGE)

    class Unscaled(Scaled):
        def forward(self, s: Tensor, t: Tensor, x: Tensor, label: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(s, t, x, label)

    with pytest.raises(ValueError, match="`X` must take a condition `guidance` with guidance="):
        method.draw(LearnedMap(Unscaled()), I, x0, x1, labels=LABELS, seed=1)


@pytest.mark.parametrize("name", ["lsd", "esd"])
def test_where_the_own_velocity_is_guided_the_diagonal_has_scale_one(name: str) -> None:
    X = LearnedMap(Scaled())
    own, target = (
        [
            term.guidance
            for term in step(get_method(name, guidance=RANGE, guides=guides), X)[0].terms
            if term is not None
        ]
        for guides in ("own", "target")
    )
    assert_close(own[0], torch.ones(6, dtype=torch.float64))
    assert_close(own[1], target[1])  # the other draws stay


def test_the_own_velocity_is_guided_with_a_range_and_where_there_is_one() -> None:
    for guidance in (1.0, 2.0):
        with pytest.raises(ValueError, match=r'`guidance` must be a pair \(low, high\) with guides="own", got'):
            get_method("lsd", guidance=guidance, guides="own")
    with pytest.raises(ValueError, match='`guides` must be "target" or "own", got \'teacher\''):
        get_method("lsd", guidance=RANGE, guides="teacher")
    for name in ("psd-u", "psd-m", "fm", "lmd"):  # no velocity off the diagonal, or none of their own
        with pytest.raises(TypeError, match="guides"):
            get_method(name, guidance=RANGE, guides="own")


def test_what_the_network_is_built_with_follows_from_the_options() -> None:
    plain = {"guidance": False, "interval": False, "log_det": False, "auxiliary": False}
    assert get_method("lsd", guidance=2.0, guidance_interval=(0.1, 0.5)).wanted == plain
    assert get_method("lsd", guidance=RANGE).wanted == plain | {"guidance": True}
    told = {"guidance": PowerLaw(1.0, 8.0, 1.0), "guidance_interval": RandomInterval()}
    assert get_method("imf", **told, paper=True).wanted == dict.fromkeys(plain, True) | {"log_det": False}
    assert get_method("f2d2").wanted == plain | {"log_det": True}


def test_a_pair_is_the_uniform_law() -> None:
    X = LearnedMap(Scaled())
    pair, law = (step(get_method("fm", guidance=scale), X)[0].terms[0] for scale in (RANGE, PowerLaw(*RANGE)))
    assert pair is not None
    assert law is not None
    assert_close(pair.guidance, law.guidance, rtol=0, atol=0)


def test_laws_that_are_none_are_refused() -> None:
    for wrong in ((3.0, 1.0), (1.0, float("inf")), (0.0, 2.0, 1.0), (-1.0, 2.0, 0.5)):
        with pytest.raises(ValueError, match=r"must be finite"):
            PowerLaw(*wrong)
    for middle in (0.0, 1.0, -0.5):
        with pytest.raises(ValueError, match=r"`middle` must lie in \(0, 1\), got"):
            RandomInterval(middle)
    with pytest.raises(ValueError, match=r"`guidance` must be a pair \(low, high\) or a PowerLaw with a Random"):
        get_method("lsd", guidance=2.0, guidance_interval=RandomInterval())
    x0, x1 = batch(8)
    method = get_method("lsd", guidance=RANGE, guidance_interval=RandomInterval())
    with pytest.raises(ValueError, match="`X` must take a condition `interval` with guidance_interval=RandomInterval"):
        method.draw(LearnedMap(Scaled()), interpolants.linear(), x0, x1, labels=LABELS, seed=1)
    with pytest.raises(ValueError, match="`X` must have a second output for a velocity"):
        get_method("imf", auxiliary=True)(LearnedMap(Scaled()), interpolants.linear(), x0, x1, labels=LABELS, seed=1)


@pytest.mark.parametrize("interval", [(0.2, 0.8), RandomInterval(0.5)])
@pytest.mark.parametrize("name", ["pd", "regression"])
def test_a_teacher_map_that_is_told_no_interval_is_refused_with_one(name: str, interval: Any) -> None:
    net: dict[str, Any] = {"labels": WITH_LABELS, "guidance": True, "interval": True, "width": 8}
    X, teacher = LearnedMap(MLP(2, **net).double()), LearnedMap(Scaled(5)).requires_grad_(False)
    method = get_method(name, guidance=RANGE, guidance_interval=interval)
    with pytest.raises(ValueError, match="`guidance_interval` must be None with a map as teacher that is not told it"):
        step(method, X, teacher=teacher)
    if isinstance(interval, RandomInterval):
        assert step(method, X, teacher=LearnedMap(MLP(2, **net).double()))[1].loss.isfinite()


def test_they_are_written_as_their_call() -> None:
    for text in ("PowerLaw(1, 8, 1)", "RandomInterval(0.5)"):
        assert repr(parse_guidance(repr(parse_guidance(text)))) == repr(parse_guidance(text))
    assert (parse_guidance("2.5"), parse_guidance("1,4"), parse_guidance("none")) == (2.5, (1, 4), None)
    with pytest.raises(ValueError, match="`guidance` must be a law of flowops.methods with numbers"):
        parse_guidance("exec(1)")
    with pytest.raises(ValueError, match="`guidance_interval` must be a law of flowops.methods with numbers"):
        READERS["guidance_interval"]("exec(1)")


def test_a_weight_of_scales_divides_by_their_power() -> None:
    X, method = LearnedMap(Scaled()), get_method("lsd", guidance=RANGE, guides="own")
    draw, plain = step(method, X)
    weighted = step(method.with_options(weight=InverseGuidance()), X)[1]
    scales = torch.cat([term.guidance for term in draw.terms if term is not None and term.guidance is not None])
    assert_close(weighted.per_sample, plain.per_sample / scales**2)
    losses = torch.ones(3)
    assert torch.equal(InverseGuidance()(losses, losses, losses, losses), losses)
    with pytest.raises(ValueError, match="`p` must be positive, got 0"):
        InverseGuidance(0.0)


PROGRAM = """
import torch
from flowops import LearnedMap, interpolants
from flowops.methods import get_method
from flowops.networks import MLP

X, I = LearnedMap(MLP(2, width=16, depth=1, labels=3, guidance=True)), interpolants.linear()
x0, x1, labels = torch.randn(8, 2), torch.randn(8, 2), torch.arange(8) % 3
for guides in ("target", "own"):
    method = get_method("lsd", guidance=(0.5, 3.0), label_dropout=0.2, guides=guides)
    draw = method.draw(X, I, x0, x1, labels=labels, seed=3)
    compiled = method.compiled(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(X, I, draw).loss, method.evaluate(X, I, draw).loss)
"""


@pytest.mark.slow
def test_the_loss_compiles_in_one_graph(tmp_path: Path) -> None:
    run(tmp_path, PROGRAM)
