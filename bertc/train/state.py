"""A run on disk: all that is needed to go on as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from bertc.errors import FULL_DISK, EnvironmentLackError, InputError, is_full

STATE_FILE = "state.pt"
SAVE_SECONDS = 60.0
DUTY = 20.0
"""Saving takes at most one part in so many of the time."""


class StateFolder:
    """The folder beside the output in which a run keeps its state until the output is whole.

    `run` says what the run is (checkpoint, data, recipe): a state of another run is refused. It mutates: it remembers
    when it last saved.
    """

    def __init__(self, folder: Path, run: Mapping[str, str]) -> None:
        self.folder = folder
        self._run = dict(run)
        self._saved = time.monotonic()
        self._cost = 0.0

    @property
    def exists(self) -> bool:
        """Whether an unfinished run lies here."""
        return (self.folder / STATE_FILE).exists()

    def due(self) -> bool:
        """Say whether it is time to save."""
        return time.monotonic() - self._saved >= max(SAVE_SECONDS, DUTY * self._cost)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state whole or not at all.

        Raises `EnvironmentLackError` if the disk is full, `InputError` if it refuses for another reason.
        """
        begin = time.monotonic()
        path, work = self.folder / STATE_FILE, self.folder / f"{STATE_FILE}.new"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with work.open("wb") as file:
                torch.save({"run": self._run, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            work.replace(path)
        except (OSError, RuntimeError) as error:
            with suppress(OSError):
                work.unlink()
            told = error if isinstance(error, OSError) else error.__context__  # torch's error is raised over the disk's
            if isinstance(told, OSError) and is_full(told):
                raise EnvironmentLackError(f"{path}: {FULL_DISK}") from error
            reason = told.strerror if isinstance(told, OSError) else str(error).partition("\n")[0]
            raise InputError(
                f"{path}: the state of the run cannot be written ({reason}); choose another output"
            ) from error
        self._saved = time.monotonic()
        self._cost = self._saved - begin

    def load(self) -> dict[str, Any]:
        """Read the state. Raises `InputError` if it is damaged, or of a run with another recipe."""
        path = self.folder / STATE_FILE
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            run, state = dict(content["run"]), dict(content["state"])
        except Exception as error:  # a torn zip file, a foreign pickle: torch raises whatever comes
            raise InputError(
                f"{path} cannot be read as the state of a run ({type(error).__name__}); remove {self.folder} and begin "
                "again without --resume"
            ) from error
        for name in sorted(run.keys() | self._run.keys()):
            before, now = run.get(name, "nothing"), self._run.get(name, "nothing")
            if before != now:
                raise InputError(
                    f"{path} is the state of another run: {name} was {before[:80]} and is now {now[:80]}; resume with "
                    f"what it was begun with, or remove {self.folder} and begin again"
                )
        return state

    def remove(self) -> None:
        """Remove the folder once the output is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)
