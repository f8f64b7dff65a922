"""A `Config` and a `Dataset` become what computes: program, hyper-parameters, checks."""
