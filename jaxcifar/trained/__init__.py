"""Using a finished run: its network with the weights that validation chose."""
