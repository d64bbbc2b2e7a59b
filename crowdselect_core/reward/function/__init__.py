"""Python functions as reward models, in worker processes."""
