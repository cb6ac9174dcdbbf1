"""The table of a run: what stands in it, and that its numbers are those of other routes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowops.data import open_dataset, to_uint8
from flowops.maps import LearnedMap
from flowops.metrics import FeatureStatistics, frechet_distance, histogram_kl, open_extractor, statistics
from flowops.report.evaluation import Evaluation, evaluate
from flowops.report.residual_sizes import residual_sizes
from flowops.report.samplers import Drawn, Noising, Samplers
from flowops.report.scores import PictureScores, PointScores
from flowops.training import LogConfig, NetworkConfig, Run, TrainConfig, train

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def trained(folder: Path, dataset: str) -> Run:
    """A run of two steps."""
    network = NetworkConfig(width=8, depth=2, octaves=1, channels=4, multipliers=(1,), blocks=1, attention=())
    log = LogConfig(telemetry_every=0, tensorboard=False, progress=False)
    config = TrainConfig(
        dataset, steps=2, batch=8, averages=(0.9,), audit=False, out=str(folder), network=network, log=log
    )
    return train(config, report=lambda _: None)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("board") / "run", "checkerboard")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("digits") / "run", "digits")


class Velocity(nn.Module):
    """An average velocity in closed form."""

    def __init__(self, slope: float, constant: float) -> None:
        super().__init__()
        self.slope, self.constant = slope, constant

    def forward(self, s: Tensor, t: Tensor, x: Tensor) -> Tensor:
        return (self.slope * (t - s) + self.constant)[:, None] * torch.ones_like(x)


def of_map(run: Run, slope: float, constant: float) -> Run:
    return replace(run, X=LearnedMap(Velocity(slope, constant)))


# the samplers


def test_samples_do_not_depend_on_the_chunk(digits: Run) -> None:
    for way in (
        lambda samplers: samplers.along_map([0.0, 0.5, 1.0]),
        lambda samplers: samplers.along_map([0.0, 0.5, 1.0], Noising(gamma=0.5)),
        lambda samplers: samplers.along_map([0.0, 0.5, 1.0], Noising(restart=(0.0, 0.5, 2))),
        lambda samplers: samplers.along_field("heun", [0.0, 0.5, 1.0]),
    ):
        whole, cut = (way(Samplers(digits, 7, seed=3, guidance=1.5, chunk=chunk)) for chunk in (100, 3))
        assert whole.x.shape == (7, 1, 8, 8)
        torch.testing.assert_close(whole.x, cut.x)
        assert whole.calls == cut.calls


def test_samples_are_those_of_the_run(digits: Run) -> None:
    samplers = Samplers(digits, 5, seed=1)
    torch.testing.assert_close(samplers.along_map([0.0, 0.25, 1.0]).x, digits.sample(5, grid=[0.0, 0.25, 1.0], seed=1))
    solved = digits.solve(5, method="dopri5", seed=1)
    found = samplers.along_field("dopri5", [0.0, 1.0])
    torch.testing.assert_close(found.x, solved.x)
    assert found.calls == pytest.approx(solved.calls)


@pytest.mark.parametrize(("guidance", "cost"), [(None, 1), (2.0, 2)])
def test_calls_are_counted_per_sample(digits: Run, guidance: float | None, cost: int) -> None:
    samplers = Samplers(digits, 5, guidance=guidance, chunk=2)
    assert samplers.along_map([0.0, 0.5, 1.0]).calls == 2 * cost
    assert samplers.along_map([0.0, 0.5, 1.0], Noising(restart=(0.0, 0.5, 3))).calls == 5 * cost
    assert samplers.along_field("heun", [0.0, 0.5, 1.0]).calls == 4 * cost


def test_a_label_tells_the_cost() -> None:
    x = torch.zeros(1, 2)
    assert Drawn("map, 1 step", x, 1.0, 0.0).label == "map, 1 step, 1 call"
    assert Drawn("dopri5", x, 87.904, 0.0).label == "dopri5, 87.9 calls"


@pytest.mark.parametrize(("n", "chunk"), [(0, 1), (1, 0), (-2, 1)])
def test_samplers_want_samples(board: Run, n: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="must be a positive number of samples"):
        Samplers(board, n, chunk=chunk)


# the residuals


def test_the_map_of_a_constant_field_has_no_residual(board: Run) -> None:
    sizes = residual_sizes(Samplers(of_map(board, 0.0, 1.5), 64))
    assert max(sizes.lagrangian, sizes.eulerian, sizes.semigroup) < 1e-6
    assert sizes.velocity == pytest.approx(1.5)


def test_residuals_are_those_of_a_map_in_closed_form(board: Run) -> None:
    r"""$X_{s,t}(x)=x+k(t-s)^2$ has field 0, $\partial_tX=2k(t-s)=-\partial_sX$, and misses $2k(u-s)(t-u)$.

    The gaps of three uniform times are Dirichlet: the mean of $(t-s)^2$ is 3/10, that of $(u-s)^2(t-u)^2$ is 1/210.
    """
    sizes = residual_sizes(Samplers(of_map(board, 3.0, 0.0), 20_000, chunk=5_000))
    assert sizes.lagrangian == pytest.approx(6 * math.sqrt(3 / 10), rel=0.01)
    assert sizes.eulerian == pytest.approx(sizes.lagrangian, rel=1e-4)
    assert sizes.semigroup == pytest.approx(6 / math.sqrt(210), rel=0.03)
    assert sizes.velocity == 0


# the scores


def test_data_score_as_data(board: Run) -> None:
    scores = PointScores(board.dataset, 2000, split="train", seed=0)
    columns = dict(zip(scores.columns, scores.floor().values, strict=True))
    assert list(columns) == ["KL", "sliced W2", "MMD^2", "energy distance"]
    shifted = dict(zip(scores.columns, scores.of(scores.fresh + 0.3), strict=True))
    assert all(columns[name] < shifted[name] / 3 for name in columns)


def test_exact_samples_have_the_divergence_of_their_number(board: Run) -> None:
    """It is half the number of cells with mass over that of the samples: the law of the cells is exact."""
    scores, n = PointScores(board.dataset, 40_000, split="train", seed=0), 40_000
    assert scores.masses is not None
    cells = int((scores.masses > 0).sum())
    assert float(histogram_kl(scores.fresh, scores.masses)) == pytest.approx((cells - 1) / (2 * n), rel=0.1)


def test_a_law_without_density_has_no_divergence() -> None:
    scores = PointScores(open_dataset("moons"), 50, split="test", seed=0)
    assert scores.columns == ("sliced W2", "MMD^2", "energy distance")


def test_pictures_are_compared_with_all_of_a_split(digits: Run, tmp_path: Path) -> None:
    extractor, data = open_extractor("pixels"), digits.dataset
    scores = PictureScores(data, 200, extractor, split="train", seed=0, cache=tmp_path)
    assert scores.columns[0] == "Fréchet distance (pixels)"
    x = data.reference(200, split="test", seed=0).x1
    train_pictures = to_uint8(data.reference(1498, split="train", seed=5).x1)
    wanted = frechet_distance(
        statistics(train_pictures, extractor, provenance="train"), statistics(to_uint8(x), extractor, provenance="test")
    )
    assert scores.of(x)[0] == pytest.approx(float(wanted))
    floor = scores.floor()
    assert floor.name == "data, 200 of the split test"
    assert floor.values[0] == pytest.approx(float(wanted))
    noise = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distance, kernel, precision, recall = scores.of(noise)
    assert distance > 5 * floor.values[0]
    assert kernel > 0.01
    assert (precision, recall) < (0.1, 0.1)


def test_statistics_of_the_data_are_kept_with_their_provenance(digits: Run, tmp_path: Path) -> None:
    extractor = open_extractor("pixels")

    def scores() -> PictureScores:
        return PictureScores(digits.dataset, 100, extractor, split="train", seed=0, cache=tmp_path)

    first = scores().statistics
    path = tmp_path / "reference-pixels-train-1498.safetensors"
    kept = FeatureStatistics.load(path)
    assert kept.provenance == f"1498 pictures of the split train of {digits.dataset.provenance}"
    torch.testing.assert_close(kept.mean, first.mean)
    replace(kept, mean=kept.mean + 1).save(path)  # the same provenance: it is taken as it is
    torch.testing.assert_close(scores().statistics.mean, first.mean + 1)
    replace(kept, mean=kept.mean + 1, provenance="other pictures").save(path)
    torch.testing.assert_close(scores().statistics.mean, first.mean)


# the table


@pytest.fixture(scope="module")
def table(board: Run) -> Evaluation:
    return evaluate(board, steps=(1, 2), n=100, solvers=("heun",), solver_steps=2, seed=4)


def test_every_sampler_has_a_row_and_data_the_last(table: Evaluation) -> None:
    assert [row.sampler for row in table.rows] == [
        "map, 1 step",
        "map, 2 steps",
        "heun, 2 steps",
        "data, 100 other draws",
    ]
    assert [row.calls for row in table.rows[:-1]] == [1, 2, 4]
    assert all(row.seconds > 0 for row in table.rows[:-1])
    assert math.isnan(table.rows[-1].calls)
    assert all(len(row.values) == len(table.columns) for row in table.rows)


def test_the_same_seed_gives_the_same_table(board: Run, table: Evaluation) -> None:
    again = evaluate(board, steps=(1, 2), n=100, solvers=("heun",), solver_steps=2, seed=4, chunk=33)
    for one, other in zip(table.rows, again.rows, strict=True):
        assert one.values == pytest.approx(other.values, rel=1e-4, abs=1e-6)
    assert again.residuals.lagrangian == pytest.approx(table.residuals.lagrangian, rel=1e-4)


def test_markdown_and_json_hold_the_same(table: Evaluation, tmp_path: Path) -> None:
    table.save(tmp_path / "e" / "table.md")
    text = (tmp_path / "e" / "table.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    held = json.loads((tmp_path / "e" / "table.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert held["rows"][-1]["calls"] is None
    for line, row in zip(lines[2:], held["rows"], strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == row["sampler"]
        assert [float(cell) for cell in cells[1:-2]] == pytest.approx(row["values"], rel=1e-3)
    for part in ("checkerboard", "seed 4", "100 samples", "Lagrangian", "step 2"):
        assert part in text


def test_samples_that_are_not_finite_are_told(board: Run) -> None:
    found = evaluate(of_map(board, 0.0, math.nan), steps=(1,), n=20, solvers=())
    assert found.rows[0].sampler == "map, 1 step (20 not finite)"
    assert all(map(math.isnan, found.rows[0].values))
    assert "| map, 1 step (20 not finite) |" in found.markdown()


def test_pictures_of_all_classes_are_measured(digits: Run) -> None:
    told: list[str] = []
    found = evaluate(digits, steps=(1,), n=120, solvers=(), guidance=1.5, split="test", report=told.append)
    assert [row.sampler for row in found.rows] == ["map, 1 step", "data, 120 of the split train"]
    assert found.rows[0].calls == 2
    assert "guidance 1.5" in found.markdown()
    assert told == [f"map, 1 step: Fréchet distance (pixels) {found.rows[0].values[0]:.4g}"]
    assert (digits.folder.path / "reference-pixels-test-299.safetensors").is_file()


def test_few_samples_are_refused(board: Run) -> None:
    with pytest.raises(ValueError, match="`n` must be at least 10 samples"):
        evaluate(board, n=9)
