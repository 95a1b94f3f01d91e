"""bertc compiles a trained BERT checkpoint to an INT8 engine whose accuracy is proven."""

__version__ = "0.1.0"
