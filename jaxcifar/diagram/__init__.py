"""The table and the drawing of any network, made from its traced program."""
