"""The command line: options, printing, progress and exit codes. What is computed stands in the modules it calls."""
