"""What is not a step: pipeline, status and sample."""
