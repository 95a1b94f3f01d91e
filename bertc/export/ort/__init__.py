"""Lowering to what ONNX Runtime runs, on the CPU and with its CUDA provider."""
