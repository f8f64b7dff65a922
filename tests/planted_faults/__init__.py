"""Planted faults: small slips in copies of the package, each of which some test must notice.

The lists are the TOML files in this folder. `make faults` tries them.
"""
