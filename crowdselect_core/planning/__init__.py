"""What a run would do before it does it: missing work, dry run, cost, preflight."""
