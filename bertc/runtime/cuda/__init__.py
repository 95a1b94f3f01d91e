"""bertc's own engine for NVIDIA GPUs: kernels in Triton, called by a plan, without padding, in CUDA graphs."""
