"""Load a registered model, check the rows that it is asked about, and answer."""
