"""The columns that several tasks read, with the names under which public data sets have them."""

from __future__ import annotations

from bertc.data.columns import Column, Layout

TEXT = Column(
    role="text",
    names=(
        "text", "sentence", "content", "utterance", "review", "comment", "message", "tweet", "body", "document",
        "question", "query", "prompt", "input", "title", "description",
    ),
    meaning="the text",
)  # fmt: skip
# Pairs: the i-th name of one goes with the i-th name of the other.
TEXT_A = Column(
    role="text_a",
    names=(
        "text_a", "sentence1", "sentence_a", "text1", "premise", "question1", "question", "query", "anchor",
        "question", "s1",
    ),
    meaning="the first text of a pair",
)  # fmt: skip
TEXT_B = Column(
    role="text_b",
    names=(
        "text_b", "sentence2", "sentence_b", "text2", "hypothesis", "question2", "sentence", "passage", "positive",
        "context", "s2",
    ),
    meaning="the second text of a pair",
)  # fmt: skip
LABEL = Column(
    role="label",
    names=(
        "label", "labels", "intent", "target", "class", "category", "score", "stars", "rating", "sentiment", "gold",
        "similarity", "similarity_score",
    ),
    meaning="the label (may be missing where nothing is scored)",
)  # fmt: skip
QUERY = Column(
    role="group",
    names=("query_id", "query-id", "qid", "topic_id", "query"),
    meaning="the query that the row answers, by an id or its text",
    shared=True,
)
ID = Column(role="id", names=("id", "idx", "guid"), meaning="the row's name")


def schema_from_layout(task: str, layout: Layout, note: str) -> str:
    """Return the help on the columns of a task: one line per role with its usual names, and a note on labels."""
    lines = [f"{task} reads " + " or ".join("+".join(c.role for c in choice) for choice in layout.choices)]
    required = {column.role for choice in layout.choices for column in choice}
    for column in layout.columns:
        optional = "" if column.role in required else ", optional"
        names = ", ".join(dict.fromkeys(column.names))
        lines.append(f"  {column.role:9} {column.meaning}{optional}; found as {names}")
    lines.append("Name a column by ROLE=NAME, or ROLE=NUMBER (from 1) in a file without a header.")
    return "\n".join([*lines, note]).rstrip()
