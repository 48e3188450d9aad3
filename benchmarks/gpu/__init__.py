"""The tree decoder on one GPU: is it right, how near is it to the memory's rate, and how far from `generate`."""
