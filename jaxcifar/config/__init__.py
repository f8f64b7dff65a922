"""The settings of an experiment: fields, recipes, registry and user code, in a checked `Config`."""
