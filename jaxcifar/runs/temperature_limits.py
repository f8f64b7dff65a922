"""The limits of the softmax temperature that is fitted to validation images."""

# Limits are needed: if every prediction is right, the loss falls with the temperature without end.
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.01, 100.0


def is_limit(temperature: float) -> bool:
    """Return True if a fitted temperature is a limit: then no temperature fits the images best."""
    return not LOWEST_TEMPERATURE < temperature < HIGHEST_TEMPERATURE
