"""Floor 4: what a policy learns from its own play."""
