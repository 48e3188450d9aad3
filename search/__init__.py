"""Floor 3: the tree and one file per search algorithm. Knows no torch and no reference answer."""
