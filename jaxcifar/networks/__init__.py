"""The built-in networks, one file for each paper, and their layers."""
