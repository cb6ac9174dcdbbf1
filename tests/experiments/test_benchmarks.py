"""The benchmarks: every part at a tiny size, equal work in JAX, and the guard that names what became slower."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from experiments.benchmarks import growth, quick, sampling, solvers, training
from experiments.benchmarks.__main__ import PARTS, command, index
from experiments.benchmarks.__main__ import main as benchmarks
from experiments.benchmarks.page import Headline, about, installed, left_out, parser, publish, table
from experiments.benchmarks.timing import exponent, medians
from tests.programs import run

HERE = ("torch", "numpy")
NUMBER = re.compile(r"-?\d+\.?\d*(?:e[-+]\d+)?")
WITH_JAX = pytest.mark.skipif(not (installed("jax") and installed("optax")), reason="jax and optax are not installed")
TINY = Namespace(rows=["fm", "lsd"], batch=8, width=4, depth=1, rounds=1)


class TestTiming:
    def test_variants_take_turns_and_the_median_is_told(self) -> None:
        calls: list[str] = []
        ticks = iter([0.0, 1.0, 0.0, 5.0, 0.0, 2.0, 0.0, 5.0, 0.0, 9.0, 0.0, 5.0])
        found = medians({name: lambda name=name: calls.append(name) for name in "ab"}, 3, lambda: next(ticks))  # type: ignore[misc]
        assert calls == list("ababab")
        assert (found["a"].processor, found["b"].processor) == (2.0, 5.0)
        assert 0 <= found["a"].wall < 1

    def test_an_exponent_is_the_slope_in_logarithms(self) -> None:
        assert exponent([2, 8, 32], [5 * n**1.5 for n in (2, 8, 32)]) == pytest.approx(1.5)


class TestPage:
    def test_a_row_of_another_length_is_refused(self) -> None:
        assert table(("a", "b"), [(1, 2.5)]).splitlines() == ["| a | b |", "|---|---|", "| 1 | 2.5 |"]
        with pytest.raises(ValueError, match="must have 2 cells each, got 3"):
            table(("a", "b"), [(1, 2, 3)])

    def test_a_peer_that_is_missing_is_left_out_by_a_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert left_out(["torch"]) == []
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found(name) if name in HERE else None)
        (line,) = left_out(["torch", "torchcfm"])
        assert line.startswith("torchcfm is not installed")
        assert "torchcfm" not in about(peers=["torchcfm"])
        assert [variant for variant, *_ in training.variants("fm", TINY)] == ["compiled", "eager"]

    def test_a_page_and_its_headline_are_written(self, tmp_path: Path) -> None:
        args = parser("A benchmark.").parse_args(["--write", str(tmp_path / "a.md"), "--headline", str(tmp_path / "a")])
        publish(args, "Title", "One.\n\n    command\n\nWhat it says.", ["A part."], [Headline("what", "1.2", "1.0")])
        assert (tmp_path / "a.md").read_text() == "# Title\n\nWhat it says.\n\nA part.\n"
        assert json.loads((tmp_path / "a").read_text()) == [["what", "1.2", "1.0"]]


class TestTraining:
    @WITH_JAX
    @pytest.mark.parametrize("name", training.ROWS)
    def test_losses_and_gradients_in_jax_are_ours(self, name: str) -> None:
        assert training.gap(name) < 1e-12

    @WITH_JAX
    def test_another_loss_is_seen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from experiments.benchmarks import in_jax

        monkeypatch.setitem(in_jax.LOSSES, "lsd", in_jax.LOSSES["meanflow"])
        assert training.gap("lsd") > 0.01

    @WITH_JAX
    def test_a_step_in_jax_trains(self) -> None:
        from experiments.benchmarks.in_jax import Step

        networks = [training._network(training.Ours("fm", TINY, compiled=False).X) for _ in range(2)]
        step = Step("fm", networks[0], networks[1], training.board().numpy(), 256)
        first = sum(step() for _ in range(20))
        for _ in range(400):
            step()
        assert sum(step() for _ in range(20)) < first
        assert step.memory > 0

    def test_a_step_is_made_of_fresh_samples(self) -> None:
        ours = training.Ours("fm", TINY, compiled=False)
        ours.step()
        before, weights = ours.x1, [p.clone() for p in ours.X.parameters()]
        ours.step()
        assert not torch.equal(before, ours.x1)
        assert any(not torch.equal(p, q) for p, q in zip(weights, ours.X.parameters(), strict=True))

    @pytest.mark.parametrize("library", training.PEERS)
    def test_a_peer_trains_on_the_same_loss(self, library: str) -> None:
        if not installed(library):
            pytest.skip(f"{library} is not installed")
        size = Namespace(**{**vars(TINY), "batch": 4096})
        ours, theirs = training.Ours("fm", size, compiled=False), training.Theirs(library, size)
        losses = [torch.stack([each.loss().detach() for _ in range(8)]) for each in (ours, theirs)]
        assert losses[0].mean() == pytest.approx(losses[1].mean().item(), rel=0.05)

    def test_tables_have_a_line_for_each_variant_and_finite_numbers(self) -> None:
        seconds = {"compiled": 1.0, "eager": 2.0, "JAX": 3.0}
        each = {name: {"seconds": value, "memory": 1e6} for name, value in seconds.items()}
        first, second, third = training.tables({1: {"fm": each, "lsd": each}}, "JAX")
        assert first.splitlines()[-2:] == ["| compiled, 1 core | 3.00 | 3.00 |", "| eager, 1 core | 1.50 | 1.50 |"]
        assert "| JAX, 1 core | 3000.0 | 3000.0 |" in second
        assert "| JAX, 1 core | 1.0 | 1.0 |" in third
        (line, _) = training.headlines({1: {"fm": each}}, "JAX")
        assert line == Headline("training step, compiled, 1 core: throughput over JAX", "`fm` 3.00", "1.3 on all")


def test_the_cheapest_solver_is_at_least_as_near() -> None:
    points = [sampling.Point(k, distance, k, k) for k, distance in ((1, 0.5), (2, 0.3), (4, 0.2))]
    found = sampling.cheapest(points, 0.3)
    assert found is not None
    assert found.setting == 2
    assert sampling.cheapest(points, 0.1) is None
    text = sampling.equal({"map": [points[0]], **dict.fromkeys(sampling.TRIED, points[1:])})
    assert text.splitlines()[-1].startswith("| 1 | 0.500 | 1000000.0 | 2.0, 2.0 |")


def test_the_time_at_an_error_is_on_the_line_through_two_points() -> None:
    points: list[tuple[float, ...]] = [(1e-6, 1.0, 1e-4), (1e-7, 2.0, 1e-6)]
    assert solvers.at(points, 1e-5) == pytest.approx(math.sqrt(2))


PROGRAM = """
import warnings
from pathlib import Path
from experiments.benchmarks.{module} import main
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")
folder = Path(__file__).parent
main(["--quick", "--write", str(folder / "page.md"), "--headline", str(folder / "lines"), *{words!r}])
"""
SIZES: dict[str, tuple[list[str], int]] = {  # arguments, rows of all tables of the page
    "methods": (["--methods", "fm", "lsd", "lmd"], 4),
    "solution_operator": ([], 3),
    "startup": ([], 6),
    "growth": (["--processes"], 6),
    "sampling": ([], 4 + 4 + sum(map(len, sampling.TRIED.values()))),
    "unet": ([], 3),
    "detest": ([], 6 + 3),
    "small": ([], 6 + 5),
    "certificates": ([], 4 + 5),
    "stiff": ([], 6),
    "solvers": (["--only", "flowops dopri.$|torchdiffeq"], 4),
}


@pytest.mark.slow
@pytest.mark.parametrize("module", SIZES)
def test_a_part_writes_finite_numbers(module: str, tmp_path: Path) -> None:
    words, count = SIZES[module]
    run(tmp_path, PROGRAM.format(module=module, words=words))
    text, lines = (tmp_path / "page.md").read_text(), json.loads((tmp_path / "lines").read_text())
    page = text.splitlines()
    ruled = [k for k, line in enumerate(page) if line.startswith("|---")]  # a rule stands below every head
    assert sum(line.startswith("|") for line in page) - 2 * len(ruled) == count
    assert not re.search(r"\b(nan|inf)\b", text)
    assert all(math.isfinite(float(each)) for line in lines for each in NUMBER.findall(line[1]))
    for picture in re.findall(r"\]\((\w+\.png)\)", text):
        assert (tmp_path / picture).stat().st_size > 5_000


@pytest.mark.slow
def test_a_training_step_is_measured_in_a_process(tmp_path: Path) -> None:
    words = ["--rows", "fm", "meanflow", "--cores", "1"]
    run(tmp_path, PROGRAM.format(module="training", words=words))
    text = (tmp_path / "page.md").read_text()
    for start in ("| compiled, 1 core |", "| eager, 1 core |"):
        lines = [line for line in text.splitlines() if line.startswith(start)]
        assert all(float(cell) > 0 for line in lines for cell in line.split("|")[2:4] if cell.strip())
        assert len(lines) >= 2
    assert all(f"{peer} is not installed" in text or f"| {peer}, 1 core |" in text for peer in training.PEERS)


class TestAll:
    def test_every_part_has_a_command(self, tmp_path: Path) -> None:
        words = command("methods", tmp_path, tmp_path / "h", quick=False)
        assert words[1:4] == ["-m", "experiments.benchmarks.methods", "--write"]
        assert words[-2:] == ["--rounds", "3"]
        assert command("methods", tmp_path, tmp_path / "h", quick=True)[-1] == "--quick"

    def test_an_unknown_part_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            benchmarks(["nothing"])
        assert "`PART` must be one of training" in capsys.readouterr().err

    def test_the_index_links_the_pages_and_holds_their_lines(self) -> None:
        line = ["import flowops / import torch", "1.10", ""]
        text = index({"startup": {"headline": [line], "seconds": 60}})
        assert "| [startup](startup.md) | import flowops / import torch | 1.10 |  |" in text
        assert "1 minutes in all" in text
        assert not re.search(r"\b20\d\d-\d\d", text)  # no date

    def test_a_part_that_is_finished_is_skipped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        seen: list[str] = []

        def done(words: list[str]) -> tuple[int, str]:
            seen.append(words[2])
            Path(words[words.index("--headline") + 1]).write_text('[["a", "1", ""]]')
            return 0, ""

        monkeypatch.setattr("experiments.benchmarks.__main__.started", done)
        for _ in range(2):
            assert benchmarks(["startup", "--quick", "--out", str(tmp_path)]) == 0
        assert len(seen) == 1
        assert benchmarks(["startup", "--quick", "--again", "--out", str(tmp_path)]) == 0
        assert len(seen) == 2
        assert "| [startup](startup.md) | a | 1 |" in (tmp_path / "benchmarks.md").read_text()
        assert benchmarks(["--list", "--quick", "--out", str(tmp_path)]) == 0
        assert "startup            the start of a process: finished" in capsys.readouterr().out

    def test_a_part_that_fails_is_told_and_made_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("experiments.benchmarks.__main__.started", lambda _: (1, "ValueError: it broke"))
        assert benchmarks(["startup", "--quick", "--out", str(tmp_path)]) == 1
        held = json.loads((tmp_path / "benchmarks.json").read_text())
        assert held["failed"] == {"startup": "ValueError: it broke"}
        assert benchmarks(["startup", "--quick", "--out", str(tmp_path)]) == 1

    def test_numbers_of_another_kind_are_not_mixed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "benchmarks.json").write_text('{"tiny": false}')
        assert benchmarks(["startup", "--quick", "--out", str(tmp_path)]) == 1
        assert "must hold measurements of the same kind" in capsys.readouterr().err


class TestQuick:
    RUNS = ({"a / b": 1.0, "c / d": 2.0}, {"a / b": 1.3, "c / d": 2.0})

    def test_a_ratio_above_its_margin_is_named(self) -> None:
        assert quick.bound([1.0, 1.3]) == pytest.approx(1.6)
        assert quick.bound([2.0, 2.0]) == pytest.approx(2.2)
        assert quick.grown({"a / b": 1.59, "c / d": 2.19}, self.RUNS) == []
        (line,) = quick.grown({"a / b": 1.59, "c / d": 2.21}, self.RUNS)
        assert line.startswith("`c / d` must be at most 2.200, got 2.210")
        assert len(quick.grown({"a / b": math.nan}, self.RUNS)) == 1

    def test_a_ratio_that_is_not_committed_is_named(self) -> None:
        (line,) = quick.grown({"e": 1.0}, self.RUNS)
        assert line.startswith("`e` must be in quick.json, and is not")

    def test_five_runs_of_the_same_ratios_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "quick.json"
        quick.write(path, [{"a": 9.0}], [{"b": 1.0}, *({"a": float(k)} for k in range(6))])
        assert [run["a"] for run in json.loads(path.read_text())["runs"]] == [2.0, 3.0, 4.0, 5.0, 9.0]

    def test_it_fails_where_a_ratio_grew_and_writes_where_it_is_told_to(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(quick, "pin", lambda _: None)
        value = {"a / b": 1.0}
        monkeypatch.setattr(quick, "runs_of", lambda args: [dict(value)] * args.runs)
        words = ["--file", str(tmp_path / "quick.json")]
        assert quick.main(words) == 1
        assert quick.main([*words, "--write", "--runs", "3"]) == 0
        assert quick.main(words) == 0
        value["a / b"] = 1.2
        assert quick.main(words) == 1
        said = capsys.readouterr()
        assert "| a / b | 1.200 | 1.000 | 1.100 |" in said.out
        assert "`a / b` must be at most 1.100, got 1.200" in said.err
        assert quick.main([*words, "--write", "--fresh"]) == 0
        assert quick.main(words) == 0

    def test_the_committed_runs_are_of_the_ratios_that_are_measured(self) -> None:
        runs = json.loads(quick.FILE.read_text(encoding="utf-8"))["runs"]
        assert 3 <= len(runs) <= quick.KEPT
        pairs = {*quick.solves(2), *quick.digits(), *quick.steps(4, 4, compiled=True)}
        assert pairs < set(runs[0])
        assert all(0 < value < 10 for run in runs for value in run.values())


def test_growth_has_sizes_that_grow() -> None:
    for line in growth.lines(quick=True):
        assert list(line.works) == sorted(line.works)
        assert len(line.works) >= 2
    assert set(PARTS) >= {"training", "solvers", "sampling", "startup", "growth", "detest", "stiff"}
