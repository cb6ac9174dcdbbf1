"""The settings that were tried on digits: all of them are valid, and a table has a line for each run."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import digits_search
from experiments._recipes import configured
from experiments.digits_lsd import CONFIG
from flowops.data import open_dataset
from flowops.runs.assembly import assemble, completed
from flowops.runs.settings import check_config

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*more samples:UserWarning")


@pytest.mark.parametrize("name", digits_search.VARIANTS)
def test_every_setting_is_valid(name: str) -> None:
    digits = open_dataset("digits")
    config = completed(
        configured(CONFIG, "digits_search", digits_search.VARIANTS[name].split())[0], digits.defaults, digits.event
    )
    check_config(config)
    made = assemble(config, "cpu", dataset=digits)  # type: ignore[arg-type]
    assert made.method.name == config.method
    assert (config.network.parameterization == "edm") == (name in ("suggested", "warmup", "eta-0.4", "waves"))


def test_a_line_for_each_run_and_none_is_trained_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits_search, "SAMPLES", 80)
    tiny = ["--steps", "2", "--batch", "8", "--network.options", "width=8", "depth=1"]
    words = ["suggested", "--seeds", "0", "1", "--out", str(tmp_path / "tried"), *tiny]
    assert digits_search.main(words) == 0
    table = (tmp_path / "tried" / "search.md").read_text().splitlines()
    assert table[0] == digits_search.HEADER
    assert [line.split(" | ")[:3] for line in table[2:]] == [["| suggested", seed, "2"] for seed in "01"]
    assert all(line.count("|") == table[0].count("|") for line in table)
    capsys.readouterr()
    assert digits_search.main(words) == 0
    assert capsys.readouterr().err.count("is finished") == 2


def test_a_name_that_is_none_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        digits_search.main(["sugested"])
    assert "NAME must be one of suggested, " in capsys.readouterr().err
