"""Published tables that an experiment can be held against: numbers, their place, what is known."""
