"""Outputs of an engine beside the float model's -> scores, verdict, report."""
