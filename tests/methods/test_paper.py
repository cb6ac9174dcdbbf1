"""The settings of the papers: taken by one option, overridden one by one, and what they lack."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from flowops import interpolants
from flowops._named import texts
from flowops.methods import METHODS, Learned, Squared, get_method, row
from flowops.methods.options import values_of
from flowops.runs import TrainConfig
from flowops.runs.assembly import method_of
from tests.methods.rows import NAMES, call, learned, teacher_for


@pytest.mark.parametrize("name", NAMES)
def test_one_option_takes_every_setting_and_another_one_stays_its_own(name: str) -> None:
    method = METHODS[name]
    offered = {option.name: option for option in method.row.options}
    assert set(method.row.paper) <= set(offered) - {"paper"}
    made = get_method(name, paper=True)
    for key, value in method.row.paper.items():
        held, wanted = getattr(made.options, key), offered[key].checked(value)
        assert isinstance(held, Learned) if value == "learned" else held is wanted or held == wanted
        assert value != offered[key].default
        default = getattr(method.options, key)
        kept = getattr(get_method(name, paper=True, **{key: offered[key].default}).options, key)
        assert kept is default or kept == default
    assert method.options.paper is False
    assert get_method(name, paper=False).options.norm == method.options.norm


@pytest.mark.parametrize("name", NAMES)
def test_every_row_says_what_its_settings_lack_or_that_nothing_does(name: str) -> None:
    lacking = METHODS[name].row.lacking
    assert lacking is not None
    assert not lacking.endswith(".")
    assert "\n" not in lacking


@pytest.mark.parametrize("name", NAMES)
def test_in_single_precision_they_are_finite_at_every_time(name: str) -> None:
    dtype = torch.float32
    x0, x1 = (torch.randn(512, 2, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    X, method = learned(dtype=dtype), get_method(name, paper=True)
    teacher = learned(seed=11, dtype=dtype).velocity() if name == "reflow" else teacher_for(method, dtype=dtype)
    for step in (0, 7_000, None):
        result = method(X, interpolants.linear(), x0, x1, teacher=teacher, average=X, step=step, seed=3)
        assert result.nonfinite() is None
        result.loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in X.parameters())


def test_a_row_of_ones_own_need_not_say() -> None:
    mine = row("mine", *METHODS["fm"].terms, paper={"p": 1.0}, source="this test", summary="Mine.")
    assert mine.row.lacking is None
    assert get_method(mine, paper=True).options.p == 1.0
    assert get_method(mine, paper=True, p=0.5).options.p == 0.5


def test_other_values_are_refused() -> None:
    wrong: list[Any] = ["yes", 1, None]
    for value in wrong:
        with pytest.raises(ValueError, match="`paper` must be True or False, got"):
            get_method("lsd", paper=value)


def test_a_configuration_takes_them_with_a_learned_weight_from_its_seed() -> None:
    def weights(**options: Any) -> list[torch.Tensor]:
        config = TrainConfig("digits", method="lsd", options=texts(options), seed=options.pop("seed", 0))
        return [p for p in method_of(config).parameters()]

    first, again = weights(paper=True), weights(weight="learned")
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert weights(paper=True, weight=2.0) == []


def test_a_learned_weight_by_its_name_is_the_same_each_time() -> None:
    a, b = (get_method("lsd", weight="learned") for _ in range(2))
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    assert len(list(a.parameters())) > 0
    assert_close(call(a).loss, call(METHODS["lsd"]).loss)  # it starts at zero


def test_values_of_a_row_do_not_look_at_the_paper_by_themselves() -> None:
    method = METHODS["ict"]
    assert values_of(method.row.options, {"paper": True}, "ict").norm == Squared()
    assert method.asked({"paper": True, "norm": "l1"}) == {**method.row.paper, "paper": True, "norm": "l1"}
    assert method.asked({"norm": "l1"}) == {"norm": "l1"}


def test_settings_that_learn_from_a_teacher_alone_ask_for_one() -> None:
    method = get_method("trapezoid", paper=True)
    with pytest.raises(ValueError, match="`teacher` must be given to trapezoid with paper=True, which learns from it"):
        call(method, teacher=None)
    assert call(method).loss > 0
    for eta in (0.75, 0.0):  # what is given besides is a choice of the caller
        call(method.with_options(eta=eta), teacher=None)
