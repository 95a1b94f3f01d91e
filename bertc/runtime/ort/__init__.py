"""Engines of ONNX Runtime, on the CPU and with its CUDA provider."""
