"""Engines of TensorRT, and all that is said to its library and to CUDA."""
