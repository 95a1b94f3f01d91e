"""The language of the compiler: the graph in ONNX, its sites, the affine arithmetic and the scheme."""
