"""Tokens and token types that tokenizer.json does not have: declared beside it, or left to a tokenizer's class.

The rules are transformers' (5.23, tokenization_utils_base.py `_from_pretrained`, tokenization_utils_tokenizers.py
`TokenizersBackend.__init__`): `added_tokens_decoder` in tokenizer_config.json is the whole truth where it is there;
else special_tokens_map.json goes before tokenizer_config.json, and added_tokens.json has tokens with their ids. Then
come named special tokens, then extra ones. What the vocabulary lacks gets the next free id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from bertc.checkpoint.files import read_object_if_there
from bertc.errors import InputError

DECODER, EXTRA, OLD_EXTRA = "added_tokens_decoder", "extra_special_tokens", "additional_special_tokens"
WITH_TYPES = frozenset(
    f"{name}Tokenizer"
    for name in ("Bert", "ConvBert", "Deberta", "DebertaV2", "Electra", "FNet", "LayoutLM", "Lxmert", "MobileBert")
) | {"SqueezeBertTokenizer"}
"""transformers' classes that give the second text of a pair the type 1; all others, their base too, give 0."""


OWN_CLASSES = {"albert": "AlbertTokenizer", "xlnet": "XLNetTokenizer"}
"""The class of a model type whose files name none, where that class gives no types although the model has them."""


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """Return tokenizer_config.json with what special_tokens_map.json adds, and the tokens of added_tokens.json."""
    settings = read_object_if_there(folder / "tokenizer_config.json")
    if not settings.get(EXTRA) and OLD_EXTRA in settings:
        settings[EXTRA] = settings[OLD_EXTRA]
    settings.pop(OLD_EXTRA, None)
    if DECODER in settings:
        return settings
    declared = read_object_if_there(folder / "special_tokens_map.json")
    older = declared.pop(OLD_EXTRA, None)
    if isinstance(declared.get(EXTRA), list) and isinstance(settings.get(EXTRA), list):
        declared[EXTRA] = [*settings[EXTRA], *(token for token in declared[EXTRA] if token not in settings[EXTRA])]
    settings |= {name: value for name, value in declared.items() if value is not None}
    if older is not None:
        settings.setdefault(EXTRA, older)
    special = {_content(value) for value in _specials(settings)}
    added = read_object_if_there(folder / "added_tokens.json")
    if added:
        settings[DECODER] = {
            str(id): {"content": text, "special": text in special, "normalized": text not in special}
            for text, id in added.items()
        }
    return settings


def add_declared_tokens(folder: Path, tokenizer: Tokenizer, settings: Mapping[str, Any], size: int | None) -> None:
    """Add what the settings declare and the tokenizer lacks. `size`: rows of the embedding table, None if unknown.

    Raises `InputError` for a declaration that is none, and for a token whose declared id is not the one it gets.
    """
    for id, declared in sorted(_decoder(folder, settings).items()):
        token = _added_token(folder, declared, special=False)
        if repr(tokenizer.get_added_tokens_decoder().get(id)) != repr(token):  # == compares the text alone
            tokenizer.add_tokens([token])
        if tokenizer.token_to_id(token.content) != id:
            raise InputError(
                f"{folder} declares the token {token.content!r} with the id {id}, but the tokenizer gives it "
                f"{tokenizer.token_to_id(token.content)}; save the tokenizer again with transformers"
            )
    for name, declared in _named(settings):
        known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        token = _added_token(folder, declared, special=True)
        # A named token without a row in the table (a bos_token that BERT never had) is one that no text can use.
        room = size is None or tokenizer.get_vocab_size() < size
        if token.content not in known and (name is None or room or tokenizer.token_to_id(token.content) is not None):
            tokenizer.add_tokens([token])


def has_token_types(settings: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Say whether transformers' tokenizer of these files tells a pair's texts apart by their types.

    `model_input_names` says so; else the class does, which is the model type's own where none is named.

    >>> has_token_types({"tokenizer_class": "PreTrainedTokenizerFast"}, {})
    False
    >>> has_token_types({}, {"model_type": "bert"})
    True
    >>> has_token_types({}, {"model_type": "xlnet"}), has_token_types({}, {"model_type": "albert"})
    (False, False)
    """
    names = settings.get("model_input_names")
    if isinstance(names, list):
        return "token_type_ids" in names
    named = settings.get("tokenizer_class") or config.get("tokenizer_class")
    named = named or OWN_CLASSES.get(str(config.get("model_type")))
    return not isinstance(named, str) or named.removesuffix("Fast") in WITH_TYPES


def _decoder(folder: Path, settings: Mapping[str, Any]) -> dict[int, Any]:
    decoder = settings.get(DECODER) or {}
    try:
        return {int(id): token for id, token in decoder.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder}: {DECODER} is no object of tokens by their ids; save the tokenizer again"
        ) from error


def _specials(settings: Mapping[str, Any]) -> Iterator[Any]:
    yield from (declared for _, declared in _named(settings))


def _named(settings: Mapping[str, Any]) -> Iterator[tuple[str | None, Any]]:
    """Give the special tokens that have names (`cls_token`), then the extra ones, with None."""
    yield from (
        (name, value)
        for name, value in settings.items()
        if name.endswith("_token") and isinstance(value, str | Mapping)
    )
    extra = settings.get(EXTRA) or []
    yield from ((None, value) for value in (extra.values() if isinstance(extra, Mapping) else extra))


def extra_contents(settings: Mapping[str, Any]) -> Any:
    """Return the extra special tokens as plain text, as transformers saves them."""
    extra = settings.get(EXTRA) or []
    if isinstance(extra, Mapping):
        return {name: _content(value) for name, value in extra.items()}
    return [_content(value) for value in extra]


def _content(declared: Any) -> Any:
    return declared.get("content") if isinstance(declared, Mapping) else declared


def _added_token(folder: Path, declared: Any, *, special: bool) -> AddedToken:
    content = _content(declared)
    if not isinstance(content, str) or not content:
        raise InputError(
            f"{folder} declares the special token {declared!r}, which is no text; save the tokenizer again"
        )
    if not isinstance(declared, Mapping):
        return AddedToken(content, special=special, normalized=not special)
    special = bool(declared.get("special", special))
    flags = {name: bool(declared.get(name, False)) for name in ("single_word", "lstrip", "rstrip")}
    return AddedToken(content, **flags, special=special, normalized=bool(declared.get("normalized", not special)))
