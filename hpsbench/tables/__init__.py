"""The tables of the papers: which run fills which cell, and what the paper claims from them."""
