"""A race between ways to make a policy better, at equal processor time. See benchmarks/race/__main__.py."""
