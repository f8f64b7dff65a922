"""The machine below the experiments: devices, joined processes, files, signals, compilation."""
