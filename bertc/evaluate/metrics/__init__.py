"""The metrics: decisions or outputs of a model in, statistics per row out."""
