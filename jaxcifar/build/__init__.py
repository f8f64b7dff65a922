"""Build and check the training program and hyper-parameters for a `Config` and a `Dataset`."""
