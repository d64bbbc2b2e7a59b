"""What tells usable rows from others: near-duplicates."""
