"""The file of a sweep: how layers make a recipe, and that every wrong entry is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertc.errors import InputError
from bertc.recipe import Sweep, sweep_from_path

GOOD = """
[defaults.validation]
data = "dev.tsv"
max_drop = "1%"
[defaults.quantization]
mode = 2

[[checkpoints]]
name = "a"
checkpoint = "model"
[checkpoints.validation]
max_drop = "2%"

[[checkpoints]]
name = "b"
checkpoint = "org/hub"
task = "sequence-classification"

[[schemes]]
name = "plain"

[[schemes]]
name = "channel"
[schemes.quantization]
granularity = "channel"
[schemes.validation]
max_drop = "3%"
"""


def read(folder: Path, text: str) -> Sweep:
    (folder / "sweep.toml").write_text(text, encoding="utf-8")
    return sweep_from_path(folder / "sweep.toml")


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as refused:
        read(folder, text)
    return str(refused.value)


def test_a_build_is_the_defaults_then_the_checkpoint_then_the_scheme(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("text\tlabel\n", encoding="utf-8")
    builds = {build.name: build.recipe for build in read(tmp_path, GOOD).builds}
    assert list(builds) == ["a/plain", "a/channel", "b/plain", "b/channel"]
    assert [recipe.validation.max_drop for recipe in builds.values()] == ["2%", "3%", "1%", "3%"]
    channel = builds["b/channel"]
    assert (channel.quantization.mode, channel.quantization.granularity) == ("2", "channel")
    assert (channel.checkpoint, channel.task) == ("org/hub", "sequence-classification")
    assert builds["a/plain"].quantization.granularity is None and builds["a/plain"].task is None


def test_paths_are_those_of_the_file_where_something_is_there(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text("text\tlabel\n", encoding="utf-8")
    (tmp_path / "model").mkdir()
    recipe = read(tmp_path, GOOD).builds[0].recipe
    assert (recipe.checkpoint, recipe.validation.data) == (str(tmp_path / "model"), str(tmp_path / "dev.tsv"))
    assert read(tmp_path, GOOD).builds[2].recipe.checkpoint == "org/hub"


def test_targets_make_every_scheme_once_for_each(tmp_path: Path) -> None:
    builds = read(tmp_path, 'targets = ["native", "ort-cpu"]\n' + GOOD).builds
    assert [build.scheme for build in builds[:4]] == [
        "plain-native", "plain-ort-cpu", "channel-native", "channel-ort-cpu",
    ]  # fmt: skip
    assert [build.recipe.engine.target for build in builds[:2]] == ["native", "ort-cpu"]
    assert len(builds) == 8


def changed(before: str, after: str) -> str:
    assert before in GOOD
    return GOOD.replace(before, after, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (changed("mode = 2", "mode = 4"), "defaults: quantization.mode is 4, but it takes"),
        (changed('max_drop = "2%"', "max_drop = 2"), 'checkpoints 1 "a": validation.max_drop is 2'),
        (changed('"channel"\n[schemes.val', '"chanel"\n[schemes.val'), "schemes 2"),
        (changed('granularity = "channel"', 'granularty = "channel"'), 'schemes 2 "channel": quantization.granularty'),
        (changed("[schemes.validation]", "[schemes.validatoin]"), "did you mean [validation]"),
        (changed('task = "seq', 'task = "sequ'), 'checkpoints 2 "b": task is'),
        (changed('name = "plain"\n', ""), "schemes 1: name is missing"),
        (changed('name = "plain"', "name = 3"), "schemes 1: name is 3"),
        (changed('name = "plain"', 'name = "../plain"'), 'schemes 1 "../plain": name is'),
        (changed('name = "plain"', 'name = ".plain"'), "names a folder"),
        (changed('name = "plain"', 'name = "plain."'), "names a folder"),
        (changed('name = "plain"', 'name = ""'), "names a folder"),
        (changed('name = "plain"', 'name = "Channel"'), 'schemes 2 "channel": the name "channel" is that of schemes 1'),
        (changed('name = "b"', 'name = "a"'), 'checkpoints 2 "a": the name "a" is that of checkpoints 1 "a" already'),
        (changed('checkpoint = "model"\n', ""), 'checkpoints 1 "a": checkpoint is missing'),
        (changed('checkpoint = "model"', "checkpoint = 7"), 'checkpoints 1 "a": checkpoint is 7'),
        (changed('name = "plain"', 'name = "plain"\ncheckpoint = "other"'), "checkpoint is no field of a scheme"),
        ('[defaults]\ncheckpoint = "x"\n' + GOOD, "[[checkpoints]]"),
        ("default = 1\n" + GOOD, "default is no entry of a sweep (did you mean defaults?)"),
        ("defaults = 1\n" + GOOD.partition("[[")[1] + GOOD.partition("[[")[2], "defaults is 1, but it is a table"),
        ("targets = []\n" + GOOD, "targets is a list, but it takes"),
        ('targets = "native"\n' + GOOD, 'targets is "native", but it takes a list'),
        ('targets = ["nativ"]\n' + GOOD, 'targets has "nativ", which is none of'),
        ('targets = ["native", "native"]\n' + GOOD, 'the name "plain-native" is that of'),
        ('targets = ["native"]\n' + GOOD + '[schemes.engine]\ntarget = "float"\n', "engine.target is given"),
        (
            GOOD + '[schemes.engine]\ntarget = "native,float"\n',
            'b/channel: engine.target is "native,float", but a build of a sweep has one target; write targets =',
        ),
        (GOOD + "[schemes.early_exit]\nthreshold = 0.1\ndrop = 0.1\n", "exclude each other"),
        (GOOD.partition("[[schemes]]")[0], "there are no schemes"),
        (GOOD.partition("[[checkpoints]]")[0] + '[[schemes]]\nname = "x"\n', "there are no checkpoints"),
        ("schemes = 1\n" + GOOD.partition("[[schemes]]")[0], "schemes is 1, but it is a list of tables"),
        ("schemes = [1]\n" + GOOD.partition("[[schemes]]")[0], "schemes 1 is 1, but it is a table"),
        ("[defaults\n", "line 1"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    said = refusal(tmp_path, text)
    assert words in said and said.startswith(str(tmp_path / "sweep.toml"))


def test_everything_that_is_wrong_is_named_at_once_and_once(tmp_path: Path) -> None:
    text = changed("mode = 2", "mode = 4").replace('"2%"', "2").replace('name = "b"', 'name = "b/"')
    said = refusal(tmp_path, text)
    assert "3 entries are wrong" in said
    for words in ("quantization.mode is 4", "validation.max_drop is 2", 'checkpoints 2 "b/": name'):
        assert said.count(words) == 1


def test_schemes_whose_names_meet_with_a_target_are_refused(tmp_path: Path) -> None:
    text = 'targets = ["openvino-float", "float"]\n' + GOOD.replace(
        '"channel"\n[schemes.q', '"plain-openvino"\n[schemes.q'
    )
    assert 'the name "plain-openvino-float" is that of' in refusal(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml does not exist"):
        sweep_from_path(tmp_path / "nowhere.toml")
