"""What CONTRIBUTING.md shows is true: each kind of extension is one file, used as it stands there, with no other edit.

A file lies in a folder that a program of its own adds to the package, as a user's would. The sixth kind, a task, is in
test_new_task.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.core.plugins import CALIBRATORS, COMMANDS, CRITERIA, FAMILIES, TARGETS, Plugins
from bertc.prune.pattern import is_sparse
from tests.artefacts import Bertc
from tests.fixtures import edit_json, write_safetensors

ROOT = Path(__file__).parents[2]
SHOWN = dict(
    re.findall(r"```python\n# (\S+)\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
)
FILES = {
    FAMILIES: "bertc/checkpoint/families/ernie.py",
    CALIBRATORS: "bertc/calibrate/calibrators/three_sigma.py",
    CRITERIA: "bertc/prune/criteria/relative.py",
    TARGETS: "bertc/targets/float_whole.py",
    COMMANDS: "bertc/cli/commands/weights.py",
}
each_kind = pytest.mark.parametrize("kind", FILES, ids=lambda kind: str(kind.kind))
PROGRAM = """
import importlib, sys
package, folder, *arguments = sys.argv[1:]
importlib.import_module(package).__path__.append(folder)
from bertc.cli.main import run
sys.exit(run(arguments))
"""

Done = subprocess.CompletedProcess[str]
Added = Callable[..., Done]


@pytest.fixture
def added(tmp_path: Path) -> Added:
    """Give a function that runs a command line of bertc with one file more, without the names that it `lacks`."""

    def run(kind: Plugins, *arguments: object, lacks: tuple[str, ...] = ()) -> Done:
        folder = tmp_path / "more"
        folder.mkdir(exist_ok=True)
        text = SHOWN[FILES[kind]] + "".join(f"\ndel {name}\n" for name in lacks)
        (folder / Path(FILES[kind]).name).write_text(text, encoding="utf-8")
        command = [sys.executable, "-c", PROGRAM, kind.package, str(folder), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False)

    return run


@pytest.fixture
def ernie(classifier: Path, tmp_path: Path) -> Path:
    """The tiny classifier as ERNIE would write it."""
    path = shutil.copytree(classifier, tmp_path / "ernie")
    weights = checkpoint_from_path(classifier).weights
    stored = {weights.stored_name(name).replace("bert.", "ernie.", 1): weights.array(name) for name in weights}
    write_safetensors(path / "model.safetensors", stored, "float16")
    edit_json(path / "config.json", model_type="ernie", architectures=["ErnieForSequenceClassification"])
    return path


def test_contributing_shows_a_file_of_each_kind_that_is_not_in_the_package() -> None:
    assert set(SHOWN) == set(FILES.values())
    for kind, path in FILES.items():
        assert Path(path).parent == Path(*kind.package.split(".")) and not (ROOT / path).exists()


def test_a_family_is_read_and_built(added: Added, ernie: Path, artefact: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = added(FAMILIES, "build", ernie, "-o", out, *validated(rows))
    assert done.returncode == 0, done.stderr
    assert report(out)["checkpoint"]["family"] == "ernie"
    assert report(out)["accuracy"] == report(artefact)["accuracy"]


def test_what_a_family_refuses_is_refused(added: Added, ernie: Path) -> None:
    edit_json(ernie / "config.json", use_task_id=True)
    done = added(FAMILIES, "inspect", ernie)
    assert done.returncode == 2 and "use_task_id is set" in done.stderr


def test_a_calibrator_chooses_the_ranges(
    added: Added, classifier: Path, artefact: Path, rows: Path, bertc: Bertc, tmp_path: Path
) -> None:
    files = {name: tmp_path / f"{name}.onnx" for name in ("three-sigma", "max")}
    options = ["--calibration-data", rows, "--no-cache", "-q", "--calibrator"]
    done = added(CALIBRATORS, "quantize", classifier, "-o", files["three-sigma"], *options, "three-sigma")
    assert done.returncode == 0, done.stderr
    assert bertc("quantize", classifier, "-o", files["max"], *options, "max").code == 0
    assert files["three-sigma"].read_bytes() != files["max"].read_bytes()
    table = ["inspect", artefact / "calibration.json", "--json", "--calibrator"]
    chosen = amaxes(added(CALIBRATORS, *table, "three-sigma").stdout)
    largest = amaxes(bertc(*table, "max").out)
    assert chosen != largest and all(0 < chosen[site] <= amax for site, amax in largest.items())


def test_a_criterion_prunes(added: Added, classifier: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = added(CRITERIA, "prune", classifier, "-o", out, "--sparsity-criterion", "relative")
    assert done.returncode == 0, done.stderr
    pruned, dense = (checkpoint_from_path(path).weights for path in (out, classifier))
    name = "encoder.layer.0.intermediate.dense.weight"
    assert is_sparse(pruned.array(name).T) and not is_sparse(dense.array(name).T)


def test_a_target_is_built_and_run(added: Added, classifier: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = added(TARGETS, "build", classifier, "-o", out, *validated(rows), "--target", "float-whole")
    assert done.returncode == 0, done.stderr
    assert report(out)["engine"]["target"] == "float-whole" and report(out)["accuracy"]["agreement"] == 1
    done = added(TARGETS, "predict", out, "--text", "a good film")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("positive", "negative")


def test_a_command_is_listed_and_run(added: Added, classifier: Path) -> None:
    assert re.search(r"\n  weights +List the weights of a checkpoint\.\n", added(COMMANDS, "--help").stdout)
    done = added(COMMANDS, "weights", classifier)
    assert done.returncode == 0, done.stderr
    assert "encoder.layer.1.output.dense.weight  [64, 128]\n" in done.stdout


@each_kind
def test_a_file_that_lacks_what_its_kind_has_to_have_is_refused(
    kind: Plugins, added: Added, ernie: Path, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    done = added(kind, *commands(kind, ernie, classifier, rows, tmp_path), lacks=(*kind.functions, *kind.constants))
    missing = [*(f"function {name}" for name in kind.functions), *(f"constant {name}" for name in kind.constants)]
    told = rf"{Path(FILES[kind]).name} is no {kind.kind}: it lacks the {' and the '.join(missing)};"
    assert done.returncode == 2 and re.fullmatch(rf"error: \S+/{told}[^\n]+\n", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


@each_kind
def test_without_its_file_a_name_is_refused(
    kind: Plugins, ernie: Path, classifier: Path, rows: Path, bertc: Bertc, tmp_path: Path
) -> None:
    done = bertc(*commands(kind, ernie, classifier, rows, tmp_path))
    name = Path(FILES[kind]).stem.replace("_", "-")
    assert done.code == 2 and re.match(rf"error: .*{name}\b.*{kind.names()[0]}", done.err)


def commands(kind: Plugins, ernie: Path, classifier: Path, rows: Path, folder: Path) -> list[object]:
    """Return a command line that needs the file of a kind."""
    options = ["-o", folder / "out", *validated(rows)]
    return {
        FAMILIES: ["inspect", ernie],
        CALIBRATORS: ["build", classifier, *options, "--calibrator", "three-sigma"],
        CRITERIA: ["build", classifier, *options, "--sparsity", "2:4", "--sparsity-criterion", "relative"],
        TARGETS: ["build", classifier, *options, "--target", "float-whole"],
        COMMANDS: ["weights", classifier],
    }[kind]


def validated(rows: Path) -> list[object]:
    """Return the options of a build that passes."""
    return ["--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q"]


def report(out: Path) -> dict[str, dict[str, object]]:
    """Read an artefact's report."""
    document: dict[str, dict[str, object]] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return document


def amaxes(shown: str) -> dict[str, float]:
    """Return the range of each site, of what `bertc inspect --json` prints of a table."""
    return {site["site"]: site["amax"] for site in json.loads(shown)["sites"]}
