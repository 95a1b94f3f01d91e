"""Push an artefact to the Hugging Face hub: one commit that makes a repository exactly the artefact, and a model card.

In: a verified folder and the name of a repository. Out: the commit. The token is huggingface_hub's own affair
(`hf auth login`, HF_TOKEN); nothing here reads it, and what the hub says is told without the addresses of requests.
"""

from __future__ import annotations

import importlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from bertc.artefact.engines import engine_folder, index_of_folder, whole_folder
from bertc.artefact.layout import HEAD_FILE, MANIFEST_FILE, MODULES_FILE, RECIPE_FILE
from bertc.artefact.manifest import is_bystander, read_manifest, verify_artefact
from bertc.checkpoint.files import read_object
from bertc.checkpoint.hub import HUB_ID
from bertc.core.head import Head
from bertc.core.progress import Progress
from bertc.core.versions import __version__
from bertc.errors import BertcError, EnvironmentLackError, InputError
from bertc.jobs.inspect import report_of_artefact
from bertc.jobs.predict import head_from_document
from bertc.jobs.push_commit import CARD, CONFLICTS, Change, Repository, branch_info, made, sent, told_if_ended
from bertc.recipe import recipe_from_path
from bertc.report.card import CardEngine, card_from_engines
from bertc.report.schema import Report
from bertc.targets import target_from_name
from bertc.tasks import head_as_judged, task_from_name

_SNAPSHOT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The commit: its address and id, how many files it has, and how many bytes."""

    url: str
    commit: str
    files: int
    bytes: int


def push(folder: Path, repository: Repository, *, allow_failed: bool, progress: Progress) -> Pushed:
    """Push the artefact in a folder. Raises `InputError` and `EnvironmentLackError` before anything is sent where that
    can be known: for a damaged artefact, a verdict that is no pass (unless `allow_failed`), and files in the repository
    that bertc did not push.
    """
    if HUB_ID.fullmatch(repository.name) is None:
        raise InputError(f"{repository.name!r} is no repository of the hub; name it OWNER/NAME")
    if repository.revision is not None and not repository.revision.strip():
        raise InputError("the revision is empty; name a branch, or leave it out for the main one")
    whole = whole_folder(folder)
    if whole is not None:
        raise InputError(f"{folder} is one engine of {whole} and lacks what they share; push {whole}")
    progress.stage("verify")
    manifest = verify_artefact(folder)
    engines = engines_of_artefact(folder)
    if not allow_failed:
        _check_verdicts(folder, [engine.report for engine in engines])
    base_model = _base_model(folder, engines[0].report)
    card = card_from_engines(repository.name, engines, base_model=base_model, revision=repository.revision)
    files = {name: folder / name for name in (*manifest.files, MANIFEST_FILE)}
    hub = _hub()
    _check_name(repository.name)
    untouched = f"nothing was committed to {repository.name}; push again"
    with told_if_ended(untouched), _refusals(repository.name), _quiet():
        api = hub.HfApi(library_name="bertc", library_version=__version__)
        progress.stage("look")
        with made(api, repository, progress=progress):
            parent, stale, fresh = _prepared(api, repository, set(files))
            content: dict[str, Path | bytes] = {**files, CARD: card.encode()}
            change = Change(files=content, stale=stale, message=_message(engines), parent=parent, fresh=fresh)
            done = sent(api, repository, change, progress=progress)
    size = sum(path.stat().st_size for path in files.values()) + len(card.encode())
    return Pushed(url=done.url, commit=done.oid, files=len(content), bytes=size)


def engines_of_artefact(folder: Path) -> list[CardEngine]:
    """Describe the engines of an artefact for its card, in their order."""
    index = index_of_folder(folder)
    if index is None:
        return [_card_engine(folder, folder)]
    return [_card_engine(folder, engine_folder(folder, target)) for target in index.targets]


def _card_engine(folder: Path, place: Path) -> CardEngine:
    target = target_from_name(read_manifest(place).target)
    document = read_object(place / HEAD_FILE)
    head = head_from_document(document.get("head"), place)
    report, recipe = report_of_artefact(place), recipe_from_path(place / RECIPE_FILE, {})
    ranked = report.accuracy is not None and report.accuracy.unit == "queries"
    task = task_from_name(head_as_judged(head, ranked=ranked).task)
    runtime = target.runtime
    prefix = "" if place == folder else f"{place.relative_to(folder).as_posix()}/"
    vectors = task.sentence_modules and head.interaction is None and not task.token_scores
    return CardEngine(
        report=report,
        library=runtime.library,
        model=f"{prefix}{runtime.model_files[0]}",
        options=document.get("open_with", {}),
        on_gpu=runtime.on_gpu,
        onnx=next((f"{prefix}{name}" for name in runtime.companion_files), None),
        pooled=vectors and (folder / MODULES_FILE).is_file(),
        alone=place == folder,
        pipeline=task.hub_name or task.name,
        pairs=all(len(choice) == 2 for choice in task.layout.choices),
        left_out=left_out_of_files(head),
        paths=tuple(_whole_paths(recipe.model_dump(mode="json"))),
    )


def left_out_of_files(head: Head) -> str:
    """Say what bertc does behind the files that other programs open; nothing where they answer as bertc does."""
    told = []
    if head.exit_threshold is not None:
        told.append(
            "Other programs compute all layers for every text, and `logits` are those of the last classifier. What was "
            f"validated lets a text leave at the first classifier with an uncertainty below {head.exit_threshold:g}."
        )
    if head.lstm is not None:
        told.append("Other programs get the encoder's vectors; the LSTM in `bertc.json` is computed behind them.")
    if head.crf is not None:
        told.append("Other programs get no tags: those are decoded behind the scores, by the CRF in `bertc.json`.")
    return " ".join(told)


def _whole_paths(value: Any) -> Iterator[str]:
    """Yield the paths from the root that a recipe names."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _whole_paths(each)
    elif isinstance(value, str) and (PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()):
        yield value


def _check_name(name: str) -> None:
    """Raise `InputError` for a name that no repository can have, before anything is asked for it."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        importlib.import_module("huggingface_hub.utils").validate_repo_id(name)
    except errors.HFValidationError as error:
        raise InputError(f"{name!r} is no name that the hub takes ({error}); choose another one") from None


def _check_verdicts(folder: Path, reports: list[Report]) -> None:
    for report in reports:
        if not report.passed:
            verdict = "is unvalidated" if report.unvalidated else "did not pass its gates"
            raise InputError(
                f"{folder}: the engine {report.engine.target} {verdict}, so it is not pushed; build it until it "
                "passes, or push it with --allow-failed, which its card says"
            )


def _base_model(folder: Path, report: Report) -> str | None:
    """Return the hub id that the artefact was built from, None where it was a folder: a download's is its commit."""
    place = folder if (folder / RECIPE_FILE).is_file() else engine_folder(folder, report.engine.target)
    name = recipe_from_path(place / RECIPE_FILE, {}).checkpoint
    return name if HUB_ID.fullmatch(name) and _SNAPSHOT.fullmatch(report.checkpoint.name) else None


def _message(engines: list[CardEngine]) -> str:
    reports = [engine.report for engine in engines]
    verdict = "passed" if all(report.passed for report in reports) else "not passed"
    if any(report.unvalidated for report in reports) and all(report.passed or report.unvalidated for report in reports):
        verdict = "unvalidated"
    return f"bertc {__version__}: {', '.join(engine.report.engine.target for engine in engines)}, {verdict}"


def _prepared(api: Any, repository: Repository, files: set[str]) -> tuple[str, list[str], bool]:
    """Return the commit to stand on, files to delete, and whether the branch is not there: then it begins where the
    main one is, whose files are looked at.
    """
    name = repository.name
    found = branch_info(api, repository)
    info = api.model_info(name) if found is None else found
    if repository.private and not info.private:
        raise InputError(
            f"{name} is there and is public, so nothing was pushed; make it private, or leave out --private"
        )
    there = {sibling.rfilename for sibling in info.siblings or ()} - {CARD}
    listed = _listed(api, repository, info.sha) if MANIFEST_FILE in there else set()
    strange = sorted(each for each in there - listed - files if not is_bystander(each))
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise InputError(
            f"{name} has files that bertc did not push ({strange[0]}{more}); push to another repository, or remove them"
        )
    return info.sha, sorted((there & listed) - files), found is None


def _listed(api: Any, repository: Repository, commit: str) -> set[str]:
    """Return the files of the artefact that was pushed before, by its manifest."""
    with tempfile.TemporaryDirectory(prefix="bertc-") as scratch:
        api.hf_hub_download(repository.name, MANIFEST_FILE, revision=commit, local_dir=scratch)
        try:
            return {*read_manifest(Path(scratch)).files, MANIFEST_FILE}
        except InputError as error:
            raise InputError(
                f"{repository.name} has a {MANIFEST_FILE} that is not bertc's; push to another repository"
            ) from error


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise EnvironmentLackError("pushing needs huggingface_hub; run pip install 'bertc[hub]'") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no progress of the hub's own beside bertc's."""
    utils = importlib.import_module("huggingface_hub.utils")
    shown = not utils.are_progress_bars_disabled()
    utils.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            utils.enable_progress_bars()


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Say in one sentence what the hub refuses, without addresses, which may hold a password."""
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        yield
    except BertcError:
        raise
    except errors.HfHubHTTPError as error:
        raise _refusal(name, error.response.status_code, error.server_message) from None
    except Exception as error:  # noqa: BLE001 - the network's errors are those of whatever the hub's client uses
        cause = error.__cause__
        if isinstance(cause, errors.HfHubHTTPError):  # how the upload of a file fails
            raise _refusal(name, cause.response.status_code, cause.server_message) from None
        what = type(cause or error).__name__
        raise EnvironmentLackError(
            f"{name} cannot be pushed: the hub did not answer as it should ({what}); check the network and HF_ENDPOINT "
            "(a mirror without Xet needs HF_HUB_DISABLE_XET=1), and push again: what was not committed is not there"
        ) from None


def _refusal(name: str, status: int, said: str | None) -> BertcError:
    told = "" if not said else f", {said.strip().splitlines()[0][:200]}"
    if status == 401:
        return InputError(f"{name}: the hub does not know you (401{told}); log in with hf auth login, or set HF_TOKEN")
    if status == 403:
        return InputError(f"{name}: your token may not write there (403{told}); take one with write access")
    if status in CONFLICTS:
        return InputError(
            f"{name} was changed meanwhile ({status}{told}), so nothing was pushed; look at it, push again"
        )
    if status < 500:
        return InputError(f"{name} cannot be pushed ({status}{told}); check its name and your rights")
    return EnvironmentLackError(f"{name} cannot be pushed: the hub has an error of its own ({status}{told}); try later")
