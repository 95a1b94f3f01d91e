"""The tasks by name: a protocol's routes and shapes are each made for one of them."""

CLASSES = "sequence-classification"
EMBEDDING = "feature-extraction"
MASKS = "fill-mask"
QUESTIONS = "question-answering"
RANKS = "text-ranking"
SPARSE = "sparse-embedding"
TAGS = "token-classification"
TOKENS = "late-interaction"


def has_array_per_text(task: str, *, pairs: bool) -> bool:
    """Say whether the engine gives one array for each text or pair: of a long context, or a pair's two, it has several.

    >>> has_array_per_text(CLASSES, pairs=True), has_array_per_text(EMBEDDING, pairs=True)
    (True, False)
    """
    return task not in (QUESTIONS, TOKENS) and not (pairs and task in (EMBEDDING, SPARSE))
