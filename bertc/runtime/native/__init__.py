"""bertc's own engine for CPUs: kernels in C (native/), called by a plan over packed weights."""
