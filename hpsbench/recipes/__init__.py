"""Dataset recipes: schema, catalogue, access, readers."""
