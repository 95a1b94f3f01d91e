"""Lowering to what TensorRT runs."""
