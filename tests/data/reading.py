"""A data file read for a task by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Dataset
from bertc.tasks import task_from_name


def dataset_of(path: Path, *, task: str, **options: Any) -> Dataset:
    """Read a file with the columns of a task."""
    return dataset_from_path(path, layout=task_from_name(task).layout, **options)
