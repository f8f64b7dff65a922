"""What is computed, as pure functions of arrays: no file, no clock, no print."""
