"""What is noted about a run, and that it names neither a person nor a machine."""

from __future__ import annotations

import getpass
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

import flowops
from flowops.runs import provenance as module
from flowops.runs.provenance import provenance


def git(folder: Path, *arguments: str) -> str:
    name = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    done = subprocess.run(["git", "-C", folder, *name, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_versions_device_and_date() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = provenance("cpu")
    assert found["device"] == "cpu"
    assert found["threads"] == torch.get_num_threads()
    versions = found["versions"]
    assert isinstance(versions, dict)
    assert versions["flowops"] == flowops.__version__
    assert versions["torch"] == torch.__version__
    assert versions["python"] == sys.version.split()[0]
    date = datetime.fromisoformat(str(found["date"]))
    assert date.utcoffset() is not None
    assert before <= date <= datetime.now(UTC)
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("train", "train"),
        ("runs/a", "runs/a"),
        ("--steps=1/2", "--steps=1/2"),
        ("/home/someone/data", "data"),
        ("--data=/home/someone/my data/", "--data=my data"),
        ("folder:/home/someone/faces", "folder:faces"),
        ("~/data", "data"),
        ("~someone/data", "data"),
        ("--out=C:\\Users\\someone\\run", "--out=run"),
        ("a,/b/c", "a,c"),
        ("cos(pi*t/2)", "cos(pi*t/2)"),
    ],
)
def test_only_the_last_part_of_an_absolute_path_is_kept(
    argument: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/someone/bin/flowops", argument])
    assert provenance("cpu")["command"] == ["flowops", kept]


def test_no_host_user_or_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [__file__, f"--out={Path.cwd()}"])
    text = json.dumps(provenance("cpu"))
    for secret in {platform.node(), str(Path.cwd()), str(Path.home()), getpass.getuser()} - {"/"}:
        assert f'"{secret}' not in text
        assert f"{secret}/" not in text


def test_the_commit_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance("cpu")["working_directory_commit"] is None
    git(tmp_path, "init", "-q")
    assert provenance("cpu")["working_directory_commit"] is None  # no commit yet
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance("cpu")["working_directory_commit"] == {"commit": commit, "dirty": False}
    (tmp_path / "a").write_text("2")
    assert provenance("cpu")["working_directory_commit"] == {"commit": commit, "dirty": True}


def test_a_repository_without_files_has_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "a", "--allow-empty")
    monkeypatch.chdir(tmp_path / ".git")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance("cpu")["working_directory_commit"] == {"commit": commit, "dirty": None}


@pytest.fixture
def unasked() -> Iterator[None]:
    """A process that has not asked yet for the commit of the library."""
    module._own_commit.cache_clear()
    yield
    module._own_commit.cache_clear()


@pytest.mark.usefixtures("unasked")
def test_the_commit_of_the_library_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of what was imported, whatever is changed in its folder while a process goes on."""
    git(tmp_path, "init", "-q")
    (tmp_path / "provenance.py").write_text("1")
    git(tmp_path, "add", "provenance.py")
    git(tmp_path, "commit", "-qm", "own")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "provenance.py"))
    before = provenance("cpu")["flowops_commit"]
    assert before == {"commit": git(tmp_path, "rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "provenance.py").write_text("2")
    assert provenance("cpu")["flowops_commit"] == before


def test_a_package_inside_the_repository_of_another_project_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "own").write_text("1")
    git(tmp_path, "add", "own")
    git(tmp_path, "commit", "-qm", "own")
    installed = tmp_path / "site-packages" / "flowops"
    installed.mkdir(parents=True)
    (installed / "provenance.py").write_text("")
    monkeypatch.setattr(module, "__file__", str(installed / "provenance.py"))
    assert provenance("cpu")["flowops_commit"] is None


@pytest.mark.usefixtures("unasked")
def test_without_git_and_without_packages_there_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    found = provenance("cpu")
    assert found["flowops_commit"] is None
    assert found["working_directory_commit"] is None
    assert isinstance(found["versions"], dict)
    assert found["versions"]["no-such-package"] is None
