"""A table of variations, and carrying it out."""
