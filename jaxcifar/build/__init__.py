"""Build the program and the hyper-parameters of a `Config` and a `Dataset`, and check them."""
