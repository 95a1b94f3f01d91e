"""A finished stage is reused byte for byte or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import bertc
from bertc.cache.store import StageCache, default_cache_directory, key_from_parts
from bertc.core.progress import Silent
from bertc.errors import EnvironmentLackError

KEY = key_from_parts("calibrate", {"seed": 0})


class Notes(Silent):
    """A progress sink that remembers what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def store(cache: StageCache, key: str = KEY, size: int = 100) -> None:
    with cache.put("calibrate", key) as folder:
        assert folder is not None
        (folder / "deep").mkdir()
        (folder / "deep" / "table.bin").write_bytes(b"x" * size)


def test_what_was_put_is_got_by_another_build(tmp_path: Path) -> None:
    with StageCache(tmp_path) as cache:
        assert cache.get("calibrate", KEY) is None
        store(cache)
    with StageCache(tmp_path) as cache:
        folder = cache.get("calibrate", KEY)
        assert folder is not None and (folder / "deep" / "table.bin").read_bytes() == b"x" * 100
        assert cache.get("quantize", KEY) is None
        assert cache.usage()[0] == 1


def test_a_block_that_fails_stores_nothing(tmp_path: Path) -> None:
    cache = StageCache(tmp_path)
    with pytest.raises(ZeroDivisionError), cache.put("calibrate", KEY):
        1 / 0  # noqa: B018
    assert cache.get("calibrate", KEY) is None and not list((tmp_path / "v1" / "tmp").iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/fd")
@pytest.mark.parametrize("full", [True, False])
def test_a_disk_that_is_full_at_once_leaves_no_folder_and_no_lock(
    full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes, mkdir = Notes(), Path.mkdir

    def refused(path: Path, *arguments: object, **named: object) -> None:
        if full and path.name == "files":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mkdir(path, *arguments, **named)  # type: ignore[arg-type]

    cache = StageCache(tmp_path, progress=notes)
    monkeypatch.setattr(Path, "mkdir", refused)
    opened = len(list(Path("/dev/fd").iterdir()))
    with cache.put("calibrate", KEY) as folder:
        assert (folder is None) == full
    assert len(list(Path("/dev/fd").iterdir())) == opened and not list((tmp_path / "v1" / "tmp").iterdir())
    assert any("takes nothing new" in line for line in notes.lines) == full


def test_keys_follow_the_inputs() -> None:
    key = key_from_parts("calibrate", {"seed": 0, "rows": [1, 2]})
    assert key == key_from_parts("calibrate", {"rows": [1, 2], "seed": 0})
    assert key != key_from_parts("calibrate", {"seed": 1, "rows": [1, 2]})
    assert key != key_from_parts("quantize", {"seed": 0, "rows": [1, 2]})
    with pytest.raises(ValueError, match="JSON"):
        key_from_parts("calibrate", {"seed": float("nan")})


def test_keys_follow_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.cache.store.__version__", "9.9.9")
    assert key_from_parts("calibrate", {"seed": 0}) != KEY


@pytest.mark.parametrize("damage", ["change", "truncate", "add", "remove", "record", "no record"])
def test_a_damaged_entry_is_dropped_and_said(tmp_path: Path, damage: str) -> None:
    notes = Notes()
    cache = StageCache(tmp_path, progress=notes)
    store(cache)
    entry = tmp_path / "v1" / "calibrate" / KEY
    table = entry / "files" / "deep" / "table.bin"
    {
        "change": lambda: table.write_bytes(b"y" * 100),
        "truncate": lambda: table.write_bytes(b"x" * 99),
        "add": lambda: (entry / "files" / "extra").touch(),
        "remove": table.unlink,
        "record": lambda: (entry / "digests.json").write_text("[1]"),
        "no record": (entry / "digests.json").unlink,
    }[damage]()
    assert cache.get("calibrate", KEY) is None
    assert len(notes.lines) == 1 and "damaged" in notes.lines[0]
    assert not entry.exists()
    store(cache)
    assert cache.get("calibrate", KEY) is not None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = StageCache(tmp_path, max_bytes=3000)
    keys = [key_from_parts("calibrate", {"n": n}) for n in range(3)]
    for age, key in zip((30, 20), keys, strict=False):
        store(cache, key, 1000)
        os.utime(tmp_path / "v1" / "calibrate" / key / "digests.json", (1e9 - age, 1e9 - age))
    assert cache.get("calibrate", keys[0]) is not None  # now the second is the oldest
    cache.close()
    store(cache, keys[2], 1000)
    assert [cache.get("calibrate", key) is not None for key in keys] == [True, False, True]


def test_an_entry_in_use_is_not_removed(tmp_path: Path) -> None:
    user, other = StageCache(tmp_path), StageCache(tmp_path, max_bytes=1500)
    store(user, KEY, 1000)
    folder = user.get("calibrate", KEY)
    assert folder is not None
    store(other, key_from_parts("calibrate", {"n": 1}), 1000)
    assert (folder / "deep" / "table.bin").exists()
    user.close()
    store(other, key_from_parts("calibrate", {"n": 2}), 1000)
    assert not folder.exists()


def test_a_released_entry_can_go_and_another_cannot(tmp_path: Path) -> None:
    user, other = StageCache(tmp_path), StageCache(tmp_path, max_bytes=1500)
    second = key_from_parts("calibrate", {"n": 1})
    store(user, KEY, 500)
    store(user, second, 500)
    folders = [user.get("calibrate", key) for key in (KEY, KEY, second)]
    assert folders[0] is not None and folders[2] is not None
    user.release(folders[0])
    user.release(folders[0])  # it is free already
    store(other, key_from_parts("calibrate", {"n": 2}), 1400)
    assert not folders[0].exists() and folders[2].exists()
    user.close()


def test_what_is_larger_than_the_cache_is_said(tmp_path: Path) -> None:
    notes = Notes()
    cache = StageCache(tmp_path, progress=notes, max_bytes=50)
    store(cache)
    assert cache.get("calibrate", KEY) is None and "larger than the cache" in notes.lines[0]


def test_two_that_put_the_same(tmp_path: Path) -> None:
    one, other = StageCache(tmp_path), StageCache(tmp_path)
    with one.put("calibrate", KEY) as first, other.put("calibrate", KEY) as second:
        assert first is not None and second is not None and first != second
        (first / "a").write_text("same")
        (second / "a").write_text("same")
    assert one.get("calibrate", KEY) is not None and other.get("calibrate", KEY) is not None


def test_many_at_once(tmp_path: Path) -> None:
    failures: list[str] = []

    def work(number: int) -> None:
        for turn in range(15):
            with StageCache(tmp_path, max_bytes=2500) as cache:
                key = key_from_parts("calibrate", {"n": (number + turn) % 4})
                found = cache.get("calibrate", key)
                if found is None:
                    store(cache, key, 1000)
                elif (found / "deep" / "table.bin").read_bytes() != b"x" * 1000:
                    failures.append(key)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert StageCache(tmp_path).usage()[1] <= 6000


def test_leftovers_of_a_killed_put_are_removed(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib, signal\nfrom bertc.cache.store import StageCache\n"
        "with StageCache(pathlib.Path(sys.argv[1])).put('calibrate', '0' * 64) as folder:\n"
        " (folder / 'half').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(bertc.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, timeout=60, env=environment)
    assert len(list((tmp_path / "v1" / "tmp").iterdir())) == 1
    cache = StageCache(tmp_path)
    assert cache.get("calibrate", "0" * 64) is None
    with cache.put("calibrate", KEY) as live:
        store(StageCache(tmp_path), key_from_parts("calibrate", {"n": 1}))
        assert live is not None and live.exists(), "a live one's folder is no leftover"
    assert not list((tmp_path / "v1" / "tmp").iterdir())


def test_a_readonly_cache_is_read_and_said(tmp_path: Path, mount_tmpfs: Callable[[Path, str], None]) -> None:
    mount_tmpfs(tmp_path, "size=1m")
    store(StageCache(tmp_path))
    mount_tmpfs(tmp_path, "remount,ro,size=1m")
    notes = Notes()
    cache = StageCache(tmp_path, progress=notes)
    assert cache.get("calibrate", KEY) is not None and not notes.lines
    with cache.put("calibrate", key_from_parts("calibrate", {"n": 1})) as folder:
        assert folder is None
    assert len(notes.lines) == 1 and "Read-only" in notes.lines[0]
    cache.close()


def test_an_unusable_place_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    notes = Notes()
    cache = StageCache(tmp_path / "file", progress=notes)
    assert cache.get("calibrate", KEY) is None
    with cache.put("calibrate", KEY) as folder:
        assert folder is None
    assert len(notes.lines) == 1 and "cannot be used" in notes.lines[0]


def test_no_cache_at_all_is_silent() -> None:
    notes = Notes()
    cache = StageCache(None, progress=notes)
    with cache.put("calibrate", KEY) as folder:
        assert folder is None
    assert cache.get("calibrate", KEY) is None and cache.usage() == (0, 0) and not notes.lines


def test_a_full_disk_is_a_note(tmp_path: Path, mount_tmpfs: Callable[[Path, str], None]) -> None:
    mount_tmpfs(tmp_path, "size=1m")
    notes = Notes()
    cache = StageCache(tmp_path, progress=notes)
    store(cache, KEY, 2 << 20)
    assert cache.get("calibrate", KEY) is None and "No space left" in notes.lines[0]
    store(cache, KEY, 100)
    assert cache.get("calibrate", KEY) is not None
    cache.close()


def test_an_error_elsewhere_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), StageCache(tmp_path).put("calibrate", KEY):
        raise PermissionError(errno.EACCES, "Permission denied", "/data/train.tsv")


def test_stage_names_cannot_lead_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no stage name"):
        StageCache(tmp_path).get("../tmp", KEY)


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_directory() == tmp_path / "bertc"
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache_directory() == tmp_path / ".cache" / "bertc"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(EnvironmentLackError, match="--cache-dir"):
        default_cache_directory()
