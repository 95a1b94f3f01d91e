"""2:4 structured sparsity: a criterion is one file here, found when it is there (bertc/sparsity/criteria)."""
