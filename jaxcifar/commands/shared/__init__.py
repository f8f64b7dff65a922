"""Options, parsing, errors, exit codes and tables that several commands use."""
