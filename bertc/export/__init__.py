"""Export: the compiler's graph in the operators of one runtime, one folder each."""
