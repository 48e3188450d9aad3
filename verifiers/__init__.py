"""Floor 1: problems, domains and reward functions. Knows no model."""
