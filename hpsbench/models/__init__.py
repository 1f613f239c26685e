"""Systems, one per file; files that start with an underscore are the harness."""
