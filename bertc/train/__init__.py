"""Fine-tuning: the Q/DQ graph as a torch module, its losses, and the loop. Needs the extra `train`."""
