"""How far a trained network can be trusted."""
