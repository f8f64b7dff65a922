"""Any network's table and drawing, from its traced program."""
