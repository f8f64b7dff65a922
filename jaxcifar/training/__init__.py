"""Training and evaluation as pure functions of arrays: no file, no clock, no print."""
