"""How fast thoughts are decoded, beside other ways to do it and beside what the machine can do."""
