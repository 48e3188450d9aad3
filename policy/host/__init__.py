"""What decoding does on a CPU between the matrix products."""
