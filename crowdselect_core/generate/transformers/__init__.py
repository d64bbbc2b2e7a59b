"""Generation in this process by transformers."""
