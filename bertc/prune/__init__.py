"""2:4 structured sparsity; a criterion is one file in `criteria`, found when it is there."""
