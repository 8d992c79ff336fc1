"""A leader as a page: why this model, how good it is, where it fails, how it was made."""
