"""What looks after a whole store: verify, gc, ls, show."""
