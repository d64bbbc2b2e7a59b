"""Live benchmarks: the models answer or are measured, and what that comes to."""
