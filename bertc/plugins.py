"""What is one file each, by name: tasks, targets, calibrators, criteria. Nothing is imported to list them."""

from __future__ import annotations

from pathlib import Path

import bertc


def plugin_names(folder: str) -> tuple[str, ...]:
    """Return the names, sorted, of what a folder of bertc ("targets", "sparsity/criteria") offers.

    By the files' names, with - for _: importing one takes numpy, which alone takes 0.1 s.
    """
    files = (Path(bertc.__file__).parent / folder).glob("*.py")
    return tuple(sorted(path.stem.replace("_", "-") for path in files if not path.stem.startswith("_")))
