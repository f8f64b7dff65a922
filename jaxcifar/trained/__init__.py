"""Load the network of a finished run and classify images with it."""
