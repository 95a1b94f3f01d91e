"""Export: a graph in a dialect, written as ONNX."""
