"""A policy behind HTTP against the same policy in this process."""
