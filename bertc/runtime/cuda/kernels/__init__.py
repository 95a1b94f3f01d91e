"""The engine's kernels. They are interpreted where TRITON_INTERPRET=1 was set before Triton was imported."""

import os

# A product and its sum are one instruction, as in all that was measured: Triton 3.9 warns that 3.10 will split them.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
