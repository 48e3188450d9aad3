"""Values of thoughts from elsewhere than a value head."""
