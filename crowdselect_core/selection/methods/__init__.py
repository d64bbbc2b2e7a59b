"""What rows are ranked by: one file per method."""
