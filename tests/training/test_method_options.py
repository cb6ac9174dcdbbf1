"""Options of methods as text."""

from __future__ import annotations

import pytest
import torch

from flowops.methods.weights import Learned
from flowops.times import Diagonal, EndpointFixed, LogitNormal, Uniform, UpperTriangle
from flowops.training.method_options import parse_options


def test_values_have_their_types(generator: torch.Generator) -> None:
    texts = "eta=0.5 K=3 stop_gradient=false normalize=none form=velocity anneal=10,20 guidance=1,4.5"
    assert parse_options(texts.split(), generator) == {
        "eta": 0.5,
        "K": 3,
        "stop_gradient": False,
        "normalize": None,
        "form": "velocity",
        "anneal": (10, 20),
        "guidance": (1, 4.5),
    }


@pytest.mark.parametrize("law", [UpperTriangle(), Diagonal(LogitNormal(-0.4, 1.0)), EndpointFixed(Uniform())])
def test_a_law_is_read_from_its_own_repr(law: object, generator: torch.Generator) -> None:
    assert parse_options([f"law={law!r}"], generator) == {"law": law}


def test_a_learned_weight_has_parameters_of_its_own(generator: torch.Generator) -> None:
    weight = parse_options(["weight=learned"], generator)["weight"]
    assert isinstance(weight, Learned)
    assert sum(p.numel() for p in weight.parameters()) > 0


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["eta"], "must be name=value, got 'eta'"),
        (["eta=0.5", "eta=0.6"], "eta twice"),
        (["guidance=1,high"], "numbers between commas"),
        (["law=__import__('os')"], "must be a law of flowops.times"),
        (["law=UpperTriangle().__class__"], "must be a law of flowops.times"),
        (["law=Uniform()"], "must be a law of pairs of times"),
        (["law=LogitNormal(0, -1)"], "must be a law of flowops.times"),
        (["law=" + "(" * 5000], "must be a law of flowops.times"),
    ],
)
def test_other_texts_are_refused(texts: list[str], message: str, generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match=message):
        parse_options(texts, generator)
