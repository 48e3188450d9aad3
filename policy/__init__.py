"""Floor 2: budgets, and the policies that propose and value thoughts within them."""
