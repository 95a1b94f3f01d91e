"""Who has what the tests of the native sources need."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the compiler where it is not installed."""
    if item.get_closest_marker("ziglang") and find_spec("ziglang") is None:
        pytest.skip("needs the package ziglang, which make test installs")
