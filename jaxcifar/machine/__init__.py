"""What runs us: devices, processes that train together, files, signals, compilation."""
