"""Engines of our own, in C."""
