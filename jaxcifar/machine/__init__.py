"""Access to the machine: devices, processes, files, terminals, signals and compilation."""
