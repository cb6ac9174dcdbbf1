"""The hub of Hugging Face: folders to it and from it, and what goes wrong on the way in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flowops._named import require


def push(
    folder: Path | str,
    repo_id: str,
    *,
    private: bool | None = None,
    message: str | None = None,
    revision: str | None = None,
    token: str | None = None,
    replaced: Sequence[str] = (),
) -> str:
    """Upload a folder as one commit of a model repository, which is made if there is none; its address.

    Args:
        folder: what is uploaded.
        repo_id: user/name, or organization/name.
        private: whether others cannot see it, where it is made; None for the default of the account.
        message: of the commit.
        revision: branch that the commit goes to; None for main.
        token: in place of that of `hf auth login`.
        replaced: patterns of files that the commit removes where the folder has none of them.

    Raises:
        ValueError: for a name that is none.
        OSError: without network, without a token, or where the hub refuses.
    """
    hub = require("huggingface_hub", "hub")
    with _told(repo_id, "written", revision):
        api = hub.HfApi(token=token, library_name="flowops")
        api.create_repo(repo_id, private=private, repo_type="model", exist_ok=True)
        done = api.upload_folder(
            repo_id=repo_id, folder_path=str(folder), repo_type="model", revision=revision,
            commit_message=message or "Upload a flow map", delete_patterns=list(replaced) or None,
        )  # fmt: skip
        return str(done)


def fetch(
    repo_id: str,
    *,
    patterns: Sequence[str],
    revision: str | None = None,
    token: str | None = None,
    cache_dir: Path | str | None = None,
    **options: Any,
) -> Path:
    """The folder of a model repository on this machine, downloaded where it is not.

    Args:
        repo_id: user/name, or organization/name.
        patterns: of the files that are wanted; no other is downloaded.
        revision: branch, tag or commit; None for main.
        token: in place of that of `hf auth login`.
        cache_dir: where downloads are kept; None for the cache of the hub.
        **options: of `huggingface_hub.snapshot_download`.

    Raises:
        ValueError: for a name that is none.
        OSError: without network, and for a repository or a revision that is not there.
    """
    hub = require("huggingface_hub", "hub")
    with _told(repo_id, "read", revision):
        return Path(
            hub.snapshot_download(
                repo_id, revision=revision, token=token, cache_dir=cache_dir, allow_patterns=list(patterns),
                library_name="flowops", **options,
            )
        )  # fmt: skip


@contextmanager
def _told(repo_id: str, what: str, revision: str | None) -> Iterator[None]:
    """Tell errors of the hub and of the network below it as sentences."""
    errors = require("huggingface_hub.errors", "hub")
    login = "log in by `hf auth login`, or pass `token`"
    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(f"{repo_id!r} must be a folder, or a repository user/name of the hub; mend it.") from error
    except errors.RevisionNotFoundError as error:
        raise OSError(f"`revision` must be a branch, tag or commit of {repo_id}, got {revision!r}; mend it.") from error
    except errors.RepositoryNotFoundError as error:
        raise OSError(
            f"{repo_id!r} must be a folder, or a repository of the hub that is there and open to you; check its name, "
            f"and {login} where it is private."
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise OSError(_unreachable(repo_id, what)) from error
    except errors.LocalTokenNotFoundError as error:
        raise OSError(f"{repo_id} could not be {what}, since there is no token; {login}.") from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        why = str(error).strip().splitlines()
        hint = f"; {login}" if status in (401, 403) else ""
        raise OSError(f"{repo_id} could not be {what}: {why[0].rstrip('.') if why else status}{hint}.") from error
    except Exception as error:  # of the client of HTTP, whose name changes
        if not type(error).__module__.partition(".")[0].startswith(("httpx", "requests", "urllib3")):
            raise
        raise OSError(_unreachable(repo_id, what)) from error


def _unreachable(repo_id: str, what: str) -> str:
    other = "pass a folder that you were given" if what == "read" else "write a folder by `save_pretrained`"
    return f"{repo_id} could not be {what}, since the hub is not reached; look at the network, or {other}."
