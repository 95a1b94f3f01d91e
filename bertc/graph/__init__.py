"""The front end: a checkpoint becomes the float graph, encoder and heads."""
