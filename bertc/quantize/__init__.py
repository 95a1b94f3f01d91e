"""Quantization: a float graph, a calibration table and a scheme in; the Q/DQ graph out."""
