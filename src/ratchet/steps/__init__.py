"""The steps of the pipeline, one module each: prepare, train, evaluate, promote, monitor."""
