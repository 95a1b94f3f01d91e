"""Running an engine: what this machine can do, sessions, measurement, packing."""
