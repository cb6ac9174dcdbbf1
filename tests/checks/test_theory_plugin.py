"""`pytest theory_checks` with an object of the user's, and its fixtures in a file of theirs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import flowops
from flowops.checks import Request
from tests.evaluation.report.pages import check_self_contained
from theory_checks.plugin import FLAG

pytestmark = pytest.mark.slow
ROOT = Path(flowops.__file__).parent.parent
HERE = "tests.checks.objects"
OWN_CHECK = '''r"""Volume: the determinant of an exact map is positive.

Source: these tests.
"""

import torch

from flowops import problems
from theory_checks.cases import register

register("turning fast", lambda _: problems.rotation(5.0))


def test_it_is_positive(case, check):
    x = case.states(2, 0)
    size = x[0].numel()
    determinant = torch.linalg.det(case.X.jacobian(0.2, 0.7, x).reshape(2, size, size))
    check.vanishes((determinant <= 0).double(), 1e-9)


def test_a_schedule_starts_at_its_base(interpolant, check):
    check.vanishes((interpolant.alpha(torch.zeros(1)) <= 0).double(), 1e-9)
'''


def pytest_says(folder: Path, *words: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_an_object_of_the_users_is_the_only_one_that_is_checked() -> None:
    options = ["theory_checks", "--flow-map", f"{HERE}:euler", "--field", f"{HERE}:field", "--samples", "6"]
    code, said = pytest_says(ROOT, *options)
    assert code == 1
    assert "1 failed" in said
    assert "passed" not in said
    assert re.search(
        r"first broken equation: Lagrangian\. .* fails at s = .*, t = .*, x = \(.*left side .*right side", said
    )
    assert re.search(r"^Semigroup: .* FAILS$", said, re.MULTILINE)


def test_a_file_that_is_named_runs_on_the_object() -> None:
    options = ["theory_checks/test_identity.py", "--flow-map", f"{HERE}:exact", "--field", f"{HERE}:field"]
    code, said = pytest_says(ROOT, *options)
    assert code == 0, said
    assert "1 passed" in said  # its negative control and single precision are for the library's own cases


def test_with_all_the_object_stands_beside_the_cases_of_the_library() -> None:
    options = f"theory_checks/test_identity.py --all --field {HERE}:field -k diagonal --collect-only"
    code, said = pytest_says(ROOT, *options.split())
    assert code == 0, said
    assert "[user]" in said
    assert "[rotation]" in said


def test_what_cannot_be_loaded_is_refused_before_a_check_runs() -> None:
    code, said = pytest_says(ROOT, "theory_checks", "--field", f"{HERE}:euler")
    assert code == 4
    assert "--field must give a VelocityField" in said


def test_an_object_is_made_once_and_may_be_of_single_precision() -> None:
    code, said = pytest_says(ROOT, "theory_checks", "--field", f"{HERE}:single", "--samples", "2", "-s")
    assert code == 0, said
    assert said.count("a field is made") == 1
    code, said = pytest_says(ROOT, "theory_checks", "--all", "--field", f"{HERE}:single")
    assert code == 4
    assert "--field failed on a float64 state" in said


@pytest.mark.parametrize(("option", "value"), [("--tolerance", "-1"), ("--samples", "0"), ("--seconds", "nan")])
def test_a_number_that_cannot_be_is_refused_by_its_option(option: str, value: str) -> None:
    code, said = pytest_says(ROOT, "theory_checks", "--field", f"{HERE}:field", option, value)
    assert code == 1
    assert f"\n{option} must be " in said
    assert "Traceback" not in said


def test_the_help_says_of_every_option_what_a_request_says() -> None:
    code, said = pytest_says(ROOT, "theory_checks", "--help")
    assert code == 0
    assert all(FLAG[f.name] in said for f in fields(Request))
    assert "--seconds=FLOAT" in " ".join(said.split())
    assert "--samples=INT number of samples; 24, or 8 of large states, if left out" in " ".join(said.split())


def test_fixtures_and_problems_of_ones_own_work_in_a_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "test_volume.py").write_text(OWN_CHECK)
    chosen = "fast or rotation or encoding_decoding and starts"
    code, said = pytest_says(tmp_path, "-p", "theory_checks.plugin", "test_volume.py", "-vv", "-k", chosen)
    assert code == 0, said
    assert "[rotation]" in said
    assert "[turning fast]" in said
    assert "[encoding_decoding]" in said
    assert "Volume: the determinant of an exact map is positive" in said
    assert "3 passed" in said


def test_the_verdicts_are_written_as_a_page(tmp_path: Path) -> None:
    own = ("--flow-map", f"{HERE}:euler", "--field", f"{HERE}:field", "--samples", "2")
    code, said = pytest_says(ROOT, "theory_checks", *own, "--report", str(tmp_path / "theory.html"))
    assert code == 1
    assert f"The report: {tmp_path / 'theory.html'}" in said
    page = check_self_contained((tmp_path / "theory.html").read_text(encoding="utf-8"))
    assert "first broken equation: Lagrangian" in page.text
