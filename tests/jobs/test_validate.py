"""An artefact that was judged against another float model than its checkpoint is judged against that one again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """The float model that the build compares with: other weights, the same head and tokens."""
    return write_tiny_bert(tmp_path / "reference", seed=1)


def test_the_build_s_reference_is_the_float_model(
    bertc: Bertc, tmp_path: Path, classifier: Path, rows: Path, reference: Path
) -> None:
    out = tmp_path / "out"
    data = ("--validation-data", rows)
    options = ("--max-drop", "2abs", "--any-reference", "--no-cache", "-q")
    built = bertc("build", classifier, "-o", out, "--calibration-data", rows, *data, "--reference", reference, *options)
    assert built.code == 0, built.err
    alone = bertc("validate", out, *data, "--json").json
    beside = bertc("validate", out, *data, "--checkpoint", reference, "--json").json
    assert beside["accuracy"] == alone["accuracy"] and beside["notes"] == []
    itself = bertc("validate", out, *data, "--checkpoint", classifier, "--json").json
    assert itself["accuracy"] != alone["accuracy"]
    assert f"at the build with {reference}: the gates judge another drop" in str(itself["notes"])
    stranger = write_tiny_bert(tmp_path / "stranger", seed=2)
    called = bertc("validate", out, *data, "--checkpoint", stranger)
    assert called.code == 2 and "is neither what" in called.err and f"nor {reference}" in called.err


def test_without_a_reference_only_the_checkpoint_is_the_float_model(
    bertc: Bertc, artefact: Path, rows: Path, classifier: Path, reference: Path
) -> None:
    data = ("--validation-data", rows)
    assert bertc("validate", artefact, *data, "--checkpoint", classifier, "--json").json["notes"] == []
    called = bertc("validate", artefact, *data, "--checkpoint", reference)
    assert called.code == 2 and "is not what" in called.err and "name that one" in called.err
