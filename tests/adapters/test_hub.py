"""Folders to the hub and from it: what is asked of its client, and what its errors become."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from flowops.adapters import hub


class FakeHub:
    """A hub in a folder, in place of the client of the real one."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.asked: list[tuple[str, str, dict[str, Any]]] = []  # what was called, for which repository, with what

    def create_repo(self, repo_id: str, **options: Any) -> str:
        self.asked.append(("create", repo_id, options))
        (self.place / repo_id).mkdir(parents=True, exist_ok=options["exist_ok"])
        return repo_id

    def upload_folder(self, *, repo_id: str, folder_path: str, **options: Any) -> str:
        self.asked.append(("upload", repo_id, options))
        target = self.place / repo_id
        for pattern in options["delete_patterns"] or ():
            for file in list(target.glob(pattern)):
                shutil.rmtree(file) if file.is_dir() else file.unlink()
        shutil.copytree(folder_path, target, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(self, repo_id: str, *, allow_patterns: list[str], **options: Any) -> str:
        self.asked.append(("download", repo_id, {"allow_patterns": allow_patterns, **options}))
        source, target = self.place / repo_id, self.place / "cache" / repo_id
        for pattern in allow_patterns:
            for file in source.glob(pattern):
                (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / file.relative_to(source))
        return str(target)


def faked(place: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The client of the hub replaced by one that keeps repositories in a folder."""
    fake = FakeHub(place)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **_: fake)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake.snapshot_download)
    return fake


def test_a_folder_becomes_one_commit_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = faked(tmp_path / "hub", monkeypatch)
    source = tmp_path / "run"
    (source / "checkpoints").mkdir(parents=True)
    (source / "a.json").write_text("{}")
    (source / "state.pt").write_text("pickled")
    assert hub.push(source, "me/map", private=True, message="First").startswith("https://hub/me/map")
    assert [name for name, _, _ in fake.asked] == ["create", "upload"]
    assert fake.asked[0][2]["private"] is True
    assert fake.asked[1][2]["commit_message"] == "First"
    found = hub.fetch("me/map", patterns=["*.json"], revision="v1")
    assert fake.asked[2][2]["revision"] == "v1"
    assert [file.name for file in found.iterdir()] == ["a.json"]  # nothing that was not asked for


def _response(status: int) -> Any:
    """A response of the client of HTTP that the hub uses, whatever its name."""
    module = __import__(errors.HfHubHTTPError.__mro__[1].__module__.partition(".")[0])
    return module.Response(status, request=module.Request("GET", "https://hub"))


def _raises(error: BaseException) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            errors.RepositoryNotFoundError("404", response=_response(404)),
            "check its name, and log in by `hf auth login`",
        ),
        (errors.RevisionNotFoundError("404", response=_response(404)), "`revision` must be a branch, tag or commit"),
        (errors.LocalEntryNotFoundError("no network"), "the hub is not reached; look at the network"),
        (errors.OfflineModeIsEnabled("offline"), "the hub is not reached"),
        (errors.LocalTokenNotFoundError("none"), "there is no token; log in by `hf auth login`"),
        (errors.HfHubHTTPError("401 Unauthorized.", response=_response(401)), "401 Unauthorized; log in by"),
        (errors.HfHubHTTPError("500 Server error.", response=_response(500)), "500 Server error."),
    ],
)
def test_what_the_hub_refuses_is_one_sentence(error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _raises(error))
    with pytest.raises(OSError, match="me/map") as caught:
        hub.fetch("me/map", patterns=["*"], revision="v1")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_client_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is faked: no connection can be made, as on a machine without a network."""
    monkeypatch.setattr("socket.getaddrinfo", _raises(OSError("no network")))
    with pytest.raises(OSError, match=r"me/map could not be read, since the hub is not reached; .* folder"):
        hub.fetch("me/map", patterns=["*"], cache_dir=tmp_path)
    with pytest.raises(OSError, match=r"me/map could not be written, since the hub is not reached; .*save_pretrained"):
        hub.push(tmp_path, "me/map", token="hf_nothing")


@pytest.mark.parametrize("name", ["a b", "a/b/c", "-x", ""])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a folder, or a repository user/name"):
        hub.fetch(name, patterns=["*"])
    with pytest.raises(ValueError, match="must be a folder, or a repository user/name"):
        hub.push(tmp_path, name)


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", _raises(KeyError("x")))
    with pytest.raises(KeyError):
        hub.fetch("me/map", patterns=["*"])
