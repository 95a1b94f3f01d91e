"""A field is described once: options, comments and errors are made of the same words."""

from __future__ import annotations

import tomllib

import pytest

from bertc.recipe import Recipe, recipe_from_document
from bertc.recipe.commented import commented_recipe
from bertc.recipe.file import toml_item
from bertc.recipe.setting import sections, settings, settings_named


def test_every_field_is_described() -> None:
    fields = {f"{name}.{field}" for name, section in sections().items() for field in section.model_fields}
    fields |= {name for name in Recipe.model_fields if name not in sections()}
    assert {setting.key for setting in settings()} == fields
    for setting in settings():
        assert setting.meaning.endswith("."), setting.key
        assert (setting.default is None) <= (setting.example is not None), f"{setting.key} needs an example"
        assert not setting.about.left_out.endswith("."), setting.key
        assert setting.default is None or not setting.about.left_out, f"{setting.key} has a default"


@pytest.mark.parametrize("key", [each.key for each in settings() if each.section and each.example is not None])
def test_an_example_is_a_value_that_the_field_takes(key: str) -> None:
    (setting,) = settings_named(key)
    recipe_from_document({"checkpoint": "m", setting.section: {setting.name: setting.example}}, "test")


def test_the_commented_recipe_says_all_of_it() -> None:
    text = commented_recipe(Recipe(checkpoint="m"), schema="columns:\n  text")
    assert recipe_from_document(tomllib.loads(text), "test") == Recipe(checkpoint="m")
    assert "# columns:\n#   text\n" in text
    words = " ".join(text.replace("\n# ", " ").split())
    for setting in settings():
        assert setting.meaning in words, setting.key
        assert setting.about.left_out in words, setting.key
        assert all(f'"{name}"' in words for name in setting.choices if setting.kind is not dict), setting.key
        value = setting.example if setting.default is None else setting.default
        line = f"{setting.name} = {toml_item(value).as_string()}"
        assert line in text.replace("# ", "").splitlines() or setting.key == "checkpoint", setting.key
    assert max(map(len, text.splitlines())) <= 120


def test_fields_are_found_by_key_and_by_section() -> None:
    assert [each.key for each in settings_named("task", "engine.threads")] == ["task", "engine.threads"]
    training = settings_named("training")
    assert "training.clip" not in {each.key for each in training}, "it has no flag"
    assert len(training) > 10
    with pytest.raises(AssertionError, match=r"engine\.thread is neither"):
        settings_named("engine.thread")
