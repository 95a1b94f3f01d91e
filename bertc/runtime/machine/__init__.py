"""What this machine has: its processor, its GPUs, and what they lack for a target."""
