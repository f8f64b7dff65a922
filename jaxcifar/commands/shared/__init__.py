"""What commands share: options, parsing, errors and exit codes, tables."""
