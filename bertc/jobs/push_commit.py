"""What a push sends: files, then the branch where it is new, then one commit; and what is left where that is cut short.

In: what is to be added and deleted on top of a commit. Out: the new commit. Files alone show nowhere. A branch that was
made for the commit goes again without it. A commit names its parent, so that sending it twice cannot make two.
"""

from __future__ import annotations

import importlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertc.artefact.layout import MANIFEST_FILE
from bertc.core.progress import Progress
from bertc.core.signals import Terminated
from bertc.errors import EnvironmentLackError

CARD = "README.md"
COMMIT_TRIES = 3
"""How often a commit is sent that the hub answers with an error of its own (5xx), or not at all."""

CONFLICTS = (409, 412)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where to push: a repository by its name, a branch (None: the main one), and whether it has to be private."""

    name: str
    revision: str | None = None
    private: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A commit to be: files by their names in the repository (paths, or content), names to delete, and its message.

    `parent` is the commit that it stands on; `fresh` says that the branch is to be made of that.
    """

    files: Mapping[str, Path | bytes]
    stale: Sequence[str]
    message: str
    parent: str
    fresh: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit that is there: its address and id."""

    url: str
    oid: str


def sent(api: Any, repository: Repository, change: Change, *, progress: Progress) -> Commit:
    """Upload the files, and commit them. Ends by a signal say what of it is on the hub."""
    hub = importlib.import_module("huggingface_hub")
    additions = [hub.CommitOperationAdd(name, content) for name, content in sorted(change.files.items())]
    start = None if change.fresh else repository.revision
    progress.stage("push", total=len(additions))
    # One by one: several are sent in threads, for which an interrupt waits, and the hub's client has no time limit.
    for addition in additions:
        api.preupload_lfs_files(repository.name, [addition], revision=start, free_memory=False)
        progress.advance()
    operations = additions + [hub.CommitOperationDelete(name) for name in change.stale]
    with _branch(api, repository, change, progress=progress):
        return _committed(api, repository, change, operations)


def branch_info(api: Any, repository: Repository) -> Any:
    """Return what the hub says of the branch; None for one that is not there."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        return api.model_info(repository.name, revision=repository.revision)
    except errors.RevisionNotFoundError:
        return None


@contextmanager
def told_if_ended(text: str) -> Iterator[None]:
    """Let the end by a signal say this, where nothing within says more."""
    try:
        yield
    except (KeyboardInterrupt, Terminated) as end:
        end.args = end.args or (text,)
        raise


@contextmanager
def made(api: Any, repository: Repository, *, progress: Progress) -> Iterator[None]:
    """Make the repository where there is none. If the block raises it stays, and that is told."""
    name = repository.name
    there = api.repo_exists(name)
    done = False
    try:
        api.create_repo(name, private=repository.private or None, exist_ok=True)
        done = True
        yield
    except BaseException as error:
        refused = not done and (_status(error) or 500) < 500
        if not there and not refused:
            how = "was" if done else "may have been"
            progress.note(
                f"the repository {name} {how} made for this push and stays, empty unless its commit arrived; "
                "push again, or delete it on the hub"
            )
        raise


@contextmanager
def _branch(api: Any, repository: Repository, change: Change, *, progress: Progress) -> Iterator[None]:
    """Make the branch where it is fresh; without the commit it goes again."""
    name, branch = repository.name, repository.revision
    may = f"the commit to {name} was being sent and may have arrived; push again, which cannot commit twice"
    if not change.fresh:
        with told_if_ended(may):
            yield
        return
    made = False
    try:
        api.create_branch(name, branch=branch, revision=change.parent)
        made = True
        yield
    except BaseException as error:
        refused = not made and (_status(error) or 500) < 500  # then it is somebody else's
        if not refused and not _removed_branch(api, repository, change.parent):
            progress.note(f"the branch {branch} of {name} was made for this push and is there still; look at it")
            with told_if_ended(may):
                raise
        raise


def _status(error: BaseException) -> int | None:
    """Return the status with which the hub answered; None where it did not."""
    errors = importlib.import_module("huggingface_hub.errors")
    return int(error.response.status_code) if isinstance(error, errors.HfHubHTTPError) else None


def _removed_branch(api: Any, repository: Repository, parent: str) -> bool:
    """Remove the branch if nothing was committed there; say whether it is gone."""
    try:
        info = branch_info(api, repository)
        if info is not None and info.sha == parent:
            api.delete_branch(repository.name, branch=repository.revision)
            info = None
    except Exception:  # noqa: BLE001 - what ended the push is told, and that the branch is there
        return False
    return info is None


def _committed(api: Any, repository: Repository, change: Change, operations: list[Any]) -> Commit:
    """Commit on top of what was seen, again where the hub has an error of its own or the connection is cut."""
    for attempt in range(1, COMMIT_TRIES + 1):
        try:
            done = api.create_commit(
                repository.name,
                operations,
                commit_message=change.message,
                revision=repository.revision,
                parent_commit=change.parent,
            )
            return Commit(str(done.commit_url), str(done.oid))
        except Exception as error:
            status = _status(error)
            lost = _is_cut(error) if status is None else status >= 500
            if not lost and not (attempt > 1 and status in CONFLICTS):
                raise
            if lost and attempt < COMMIT_TRIES:
                time.sleep(attempt)
                continue
            found = _found_commit(api, repository, change)
            if found is None:
                raise
            return found
    raise AssertionError("unreachable")


def _is_cut(error: Exception) -> bool:
    """Say whether the connection failed: httpx's TransportError, or that of its copy in newer versions."""
    return any(each.__name__ == "TransportError" for each in type(error).__mro__)


def _found_commit(api: Any, repository: Repository, change: Change) -> Commit | None:
    """Return the commit whose answer was lost; None if nothing was committed.

    Raises `EnvironmentLackError` where the hub does not say, and where the branch has another commit.
    """
    name = repository.name
    try:
        info = branch_info(api, repository)
        if info is None or info.sha == change.parent:
            return None
        same = _holds(api, name, info.sha, change.files)
    except Exception:  # noqa: BLE001 - the hub does not answer, which is what is told
        raise EnvironmentLackError(
            f"the hub did not say whether the commit to {name} arrived, and does not answer now; check the network and "
            "push again, which cannot commit twice"
        ) from None
    if not same:
        raise EnvironmentLackError(
            f"{name} has another head since the hub did not answer as it should: that may be this push's own commit or "
            "one on top of it; look at it, and push again where it is not"
        )
    return Commit(f"{api.endpoint}/{name}/commit/{info.sha}", str(info.sha))


def _holds(api: Any, name: str, commit: str, files: Mapping[str, Path | bytes]) -> bool:
    """Say whether a commit has these files: their manifest, which has all digests, and the card."""
    with tempfile.TemporaryDirectory(prefix="bertc-") as scratch:
        for file in (MANIFEST_FILE, CARD):
            path, content = api.hf_hub_download(name, file, revision=commit, local_dir=scratch), files[file]
            if Path(path).read_bytes() != (content if isinstance(content, bytes) else content.read_bytes()):
                return False
    return True
