"""Finished stages on disk: computed once, taken again while their inputs are the same."""
