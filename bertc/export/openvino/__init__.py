"""Lowering to what OpenVINO runs."""
