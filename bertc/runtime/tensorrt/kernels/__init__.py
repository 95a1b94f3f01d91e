"""GPU kernels of the compiler's own, in Triton (extra `triton`). Everybody else imports this room late."""
