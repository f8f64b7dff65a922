"""Studies: tables of variations of one run, and the training of their rows."""
