"""What is kept of samples: the same whether they come at once, some at a time, or from several processes."""

from __future__ import annotations

import math
import pickle
from functools import reduce

import pytest
import torch
from torch import Tensor

from flowops.data import open_dataset, to_uint8
from flowops.evaluation import seen as module
from flowops.evaluation.scores import ImageScores, PointScores, Scores
from flowops.evaluation.seen import Seen
from flowops.metrics import open_extractor, statistics

DIGITS = open_dataset("digits")
PIXELS = open_extractor("pixels")
IMAGES = DIGITS.reference(120, split="test", seed=3).x1


@pytest.fixture(scope="module", params=["points", "images", "images and samples"])
def scores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scores:
    if request.param == "points":
        return PointScores(open_dataset("checkerboard"), 120, split="train", seed=0)
    metrics = ("sliced W2",) if "samples" in request.param else ()
    folder = tmp_path_factory.mktemp("cache")
    return ImageScores(DIGITS, 120, PIXELS, split="train", seed=0, cache=folder, metrics=metrics)


def samples(scores: Scores) -> Tensor:
    return scores.fresh if isinstance(scores, PointScores) else IMAGES


@pytest.mark.parametrize("sizes", [[120], [1] * 120, [50, 0, 70]])
def test_parts_are_measured_as_the_whole(scores: Scores, sizes: list[int]) -> None:
    x = samples(scores)
    seen = scores.seen()
    for part in x.split(sizes):
        seen.add(part)
    assert (seen.count, seen.lost) == (120, 0)
    assert scores.values(seen) == pytest.approx(scores.of(x), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("sizes", [[60, 60], [0, 120, 0], [7, 50, 63]])
def test_parts_of_several_processes_are_measured_as_those_of_one(scores: Scores, sizes: list[int]) -> None:
    """They travel on the CPU, in the order of the processes."""
    x = samples(scores)
    parts = [pickle.loads(pickle.dumps(scores.seen().add(part).sent())) for part in x.split(sizes)]
    assert all(part.extractor is None for part in parts)
    assert scores.values(reduce(Seen.joined, parts)) == pytest.approx(scores.of(x), rel=1e-9, abs=1e-12)
    backwards = scores.values(reduce(Seen.joined, parts[::-1]))
    assert backwards[0] == pytest.approx(scores.of(x)[0], rel=1e-9, abs=1e-12)


def test_samples_that_are_not_finite_are_counted_and_left_out(scores: Scores) -> None:
    x = samples(scores).clone()
    x[3], x[7] = math.nan, math.inf
    seen = scores.seen().add(x)
    assert (seen.count, seen.lost) == (118, 2)
    finite = x[[k for k in range(120) if k not in (3, 7)]]
    assert scores.values(seen) == pytest.approx(scores.of(finite), rel=1e-9, abs=1e-12)
    none = scores.seen().add(torch.full_like(x, math.nan))
    assert all(map(math.isnan, scores.values(none)))
    assert len(scores.values(none)) == len(scores.columns)


def test_as_many_features_are_kept_as_are_compared_in_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEIGHBOURS", 50)
    seen = Seen(PIXELS)
    for part in IMAGES.split(40):
        seen.add(part)
    torch.testing.assert_close(torch.cat(seen.features), PIXELS.features(to_uint8(IMAGES[:50])))
    found, wanted = seen.statistics(PIXELS), statistics(to_uint8(IMAGES), PIXELS, provenance="all")
    torch.testing.assert_close((found.mean, found.covariance), (wanted.mean, wanted.covariance))
    assert not seen.samples
    with pytest.raises(ValueError, match="must hold finite images"):
        Seen(PIXELS).statistics(PIXELS)
