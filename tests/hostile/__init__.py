"""Inputs that nobody means well with, what commands make of them, and what they never may."""
