"""The predictions format: schema, save, load."""
