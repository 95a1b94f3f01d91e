"""A conditional random field behind a tagger's scores, as a value: what it adds to a sequence of tags.

The score of tags y behind emissions e is start[y_0] + sum_t e_t[y_t] + sum_t transitions[y_(t-1)][y_t] + end[y_last]
(Lafferty et al. 2001). How the best tags are found is in `bertc.evaluate.chain`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bertc.core.keys import Key, key_of_fields


class Over(StrEnum):
    """The tokens that make up the sequence.

    WORDS: the first piece of every word. TOKENS: all of a text's tokens, special ones too, as the attention mask has
    them; a word's tag is then its first piece's.
    """

    WORDS = "words"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crf:
    """The scores of n tags' sequences; larger is likelier. `transitions[i][j]` is that of tag j after tag i.

    With `constrained`, tags that the scheme of the tag set does not allow behind each other are never given out.
    Raises `ValueError` for sizes that do not fit.
    """

    transitions: tuple[tuple[float, ...], ...]
    start: tuple[float, ...]
    end: tuple[float, ...]
    over: Over = Over.WORDS
    constrained: bool = False

    def __post_init__(self) -> None:
        sizes = {len(self.transitions), len(self.start), len(self.end), *map(len, self.transitions)}
        if len(sizes) != 1:
            raise ValueError(f"transitions, start and end of a CRF have the sizes {sorted(sizes)}, not one")

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)
