"""Training: clips, the real codec in the loop, losses, and the loop itself."""
