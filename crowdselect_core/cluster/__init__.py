"""Parts of stages on the workers of a Ray cluster. Ray is imported where it is used alone."""
