"""User code: each file is read once, hashed, and run from the bytes that were hashed."""
