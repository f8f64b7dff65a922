"""One experiment, whole: fields, recipes, registry and user code become a checked `Config`."""
