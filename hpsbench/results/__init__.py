"""The result format: schema, save, load."""
