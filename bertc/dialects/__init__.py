"""A dialect is one file here: it lowers a graph of the compiler to the operators of one runtime."""
