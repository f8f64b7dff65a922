"""Evaluation of trained networks: accuracy, calibration, and behaviour on other images."""
