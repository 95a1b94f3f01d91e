"""Calibration: text through the float graph, ranges of every site out."""
