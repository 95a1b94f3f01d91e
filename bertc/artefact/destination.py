"""Where a command may write: nothing is overwritten that the user did not offer. The rule, for all commands.

An output is none of the command's inputs, lies in none of them and holds none of them; it lies in no folder whose
files a manifest lists; and it replaces nothing but a thing of its own kind. Paths are compared as the file system
does: through symbolic links, hard links and mounts, and whatever it thinks of upper and lower case.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bertc.artefact.kinds import Kind, is_made_by_bertc, name_of_thing
from bertc.core.digest import files_of_folder
from bertc.errors import InputError

REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file",
    errno.EEXIST: "a part of the path is a file",
    errno.ELOOP: "its symbolic links form a loop",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTEMPTY: "files appeared in it during the build",
    errno.EXDEV: "it is a mount point",
    errno.EBUSY: "it is in use as a mount point",
    errno.ENOLCK: "the file system has no locks",
    errno.ENOTSUP: "the file system has no locks",
}
"""Why a path cannot be written, in words, by the number of the error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A path that a command is about to write, the option that named it, and what will be there."""

    option: str
    path: Path
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A path that a command reads, and the argument, option or field that named it."""

    option: str
    path: Path


def check_destinations(destinations: Sequence[Destination], sources: Iterable[Source], *, force: bool = False) -> None:
    """Refuse, before anything is read or made, what a command must not write. Raises `InputError`.

    `force` lets a thing of the same kind be replaced that is not replaced without; nothing else is ever replaced.
    """
    check_apart(destinations, sources)
    for destination in destinations:
        if not destination.kind.shared:  # a cache may be read-only, and a repository has its own refusals
            check_possible(destination.path)
        check_replaceable(destination.path, destination.kind, force=force)


def check_apart(destinations: Sequence[Destination], sources: Iterable[Source]) -> None:
    """Refuse an output that is an input, lies in one or holds one, or meets another output. Raises `InputError`."""
    there = [source for source in sources if _exists(source.path)]
    for destination in destinations:
        for source in there:
            _check_pair(destination, source)
        _check_outside_of_ours(destination)
    for one, other in combinations(destinations, 2):
        if _same(one.path, other.path) or _lies_in(one.path, other.path) or _lies_in(other.path, one.path):
            raise InputError(
                f"{one.option} {one.path} and {other.option} {other.path} are not apart; choose two places"
            )


def check_possible(path: Path) -> None:
    """Refuse a path that cannot be written, by the reason: its own form, the folder that it would lie in, or itself.

    A folder is exchanged whole, and moving one takes the permission to write into it, not only into its parent.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            return  # a pipe or a device: written as it is
    except FileNotFoundError:
        pass
    except ValueError:
        raise InputError(f"{str(path)!r} is no path to write to; choose another one.") from None
    except OSError as error:
        raise InputError(_refusal(path, error.errno, None)) from error
    folder = next(each for each in Path(os.path.realpath(path)).parents if each.exists())
    if not folder.is_dir():
        raise InputError(_refusal(path, errno.ENOTDIR, folder))
    for place in (folder, path) if path.is_dir() else (folder,):
        if not os.access(place, os.W_OK | os.X_OK):
            read_only = hasattr(os, "statvfs") and bool(os.statvfs(place).f_flag & os.ST_RDONLY)
            raise InputError(_refusal(path, errno.EROFS if read_only else errno.EACCES, place))


def check_replaceable(path: Path, kind: Kind, *, force: bool = False) -> None:
    """Refuse to put a thing of a kind where something else lies. Nothing, and what is empty, can be replaced.

    Raises `InputError` naming what is there.
    """
    if kind.shared:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; choose a folder that does not exist yet, or remove the file.")
        return
    if kind.folder:
        _check_folder(path, listed=not kind.resumed)
    elif path.is_dir():
        raise InputError(f"{path} is a folder; name the file to write")
    if _is_vacant(path):
        return
    if not kind.recognises(path):
        raise InputError(
            f"{path} is {name_of_thing(path)}, which is not replaced by {kind.name}; choose another place, or remove it"
        )
    if not force and not kind.yields(path):
        raise InputError(f"{path} is {kind.name} already; choose another place, or replace it with --force")


def _check_folder(path: Path, *, listed: bool) -> None:
    """Refuse a file in a folder's place, and where files have to be `listed` a folder without a manifest."""
    from bertc.artefact.layout import MANIFEST_FILE  # numpy: not for who writes a file

    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose a folder that does not exist yet, or remove the file.")
    if _is_vacant(path) or not listed:
        return
    if not (path / MANIFEST_FILE).is_file():
        raise InputError(f"{path} has files but no {MANIFEST_FILE}, so bertc did not write it; choose another folder.")
    if not is_made_by_bertc(path):
        raise InputError(
            f"{path} has a {MANIFEST_FILE} that is not a bertc manifest, so bertc did not write it; choose another "
            "folder."
        )


def _check_pair(destination: Destination, source: Source) -> None:
    out, read = destination.path, source.path
    named, told = f"{destination.option} {out}", f"{source.option} names and this command reads"
    if any(_same(out, part) for part in _parts(read)):
        raise InputError(f"{named} is what {told}; choose another place")
    if _lies_in(out, read):
        raise InputError(f"{named} lies in {read}, which {told}; choose a place outside of it")
    if not destination.kind.shared and _lies_in(read, out):
        raise InputError(f"{named} holds {read}, which {told}; choose another place")


def _check_outside_of_ours(destination: Destination) -> None:
    """Refuse to add to a folder whose files a manifest lists: it would be refused from then on."""
    for folder in _real(destination.path).parents:
        if is_made_by_bertc(folder):
            raise InputError(
                f"{destination.option} {destination.path} lies in {folder}, {name_of_thing(folder)}, whose files are "
                "those of its manifest; choose a place outside of it"
            )


def _refusal(path: Path, number: int | None, culprit: Path | None) -> str:
    reason = REASONS.get(number or 0) or os.strerror(number or 0)
    return f"{path} cannot be written ({reason}{'' if culprit is None else f': {culprit}'}); choose another place."


def _is_vacant(path: Path) -> bool:
    """Say whether nothing would be lost: nothing is there, an empty file or folder, or no place for files at all."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    if stat.S_ISDIR(status.st_mode):
        return not files_of_folder(path)
    return not stat.S_ISREG(status.st_mode) or status.st_size == 0


def _parts(path: Path) -> Iterator[Path]:
    """Give an input, and of a folder what its links lead to: hub caches consist of them."""
    yield path
    if path.is_dir():
        yield from _links(path)


def _links(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_symlink())


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # its own refusal comes when it is read
        return False


def _same(one: Path, other: Path) -> bool:
    """Say whether two paths are one file or folder; of what is not there yet, whether they are one place."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return _real(one) == _real(other)


def _lies_in(inner: Path, outer: Path) -> bool:
    """Say whether a path, there or not, lies below a folder."""
    return any(_same(parent, outer) for parent in _real(inner).parents)


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a NUL byte, which `check_possible` refuses
        return path
