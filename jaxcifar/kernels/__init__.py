"""Convolutions, pools and other operations, with a fast computation for each kind of device."""
