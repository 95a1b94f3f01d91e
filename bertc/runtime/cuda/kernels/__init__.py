"""The engine's kernels. They are interpreted where TRITON_INTERPRET=1 was set before Triton was imported."""
