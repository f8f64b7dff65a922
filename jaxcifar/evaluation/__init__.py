"""Evaluate trained networks: accuracy, calibration, and accuracy on new or changed images."""
