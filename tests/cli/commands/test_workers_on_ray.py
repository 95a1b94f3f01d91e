"""--workers ray: the bits of one process, also when an actor is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bertc.core.ray_cluster import joined_cluster
from tests.artefacts import Bertc
from tests.shared_work import building, calibrating, found_by_build, validating, write_rows

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Keep a cluster of this machine's own for several commands."""
    pytest.importorskip("ray", reason="needs the extra ray")
    with joined_cluster():
        yield


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled rows."""
    return write_rows(tmp_path_factory.mktemp("many") / "rows.tsv")


def test_a_table_has_the_bits_of_one_process(
    bertc: Bertc, cluster: None, classifier: Path, many: Path, tmp_path: Path
) -> None:
    for name in ("1", "ray:2"):
        called = bertc(*calibrating(classifier, many, tmp_path / name), "--workers", name)
        assert called.code == 0, called.err
    assert (tmp_path / "1").read_bytes() == (tmp_path / "ray:2").read_bytes()


def test_a_build_has_the_bits_of_one_process(
    bertc: Bertc, cluster: None, classifier: Path, many: Path, tmp_path: Path
) -> None:
    found = []
    for name in ("1", "ray:2"):
        called = bertc(*building(classifier, many, tmp_path / name), "--no-cache", "--workers", name)
        assert called.code == 0, called.err
        found.append(found_by_build(tmp_path / name))
    assert found[0] == found[1]


def test_a_validation_has_the_bits_of_one_process_also_when_an_actor_is_killed(
    bertc: Bertc, cluster: None, ort_artefact: Path, classifier: Path, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = validating(ort_artefact, classifier, many)
    alone, shared = bertc(*words), bertc(*words, "--workers", "ray:2")
    assert alone.code in (0, 1), alone.err
    assert (alone.code, alone.out) == (shared.code, shared.out)
    monkeypatch.setattr("bertc.core.ray_executor.RayExecutor._do", killing_once())
    disturbed = bertc(*words, "--workers", "ray:2")
    assert (alone.code, alone.out) == (disturbed.code, disturbed.out), disturbed.err


def killing_once() -> object:
    """Return what does a task, of which the second is lost: its actor is killed when it begins."""
    import ray

    from bertc.core.ray_executor import RayExecutor

    done, do = list[object](), RayExecutor._do

    def disturbed(self: RayExecutor, task: object, actor: object) -> None:
        done.append(task)
        if len(done) == 2:
            ray.kill(actor)
        do(self, task, actor)  # type: ignore[arg-type]

    return disturbed
