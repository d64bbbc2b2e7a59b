"""Generation by vLLM servers that a run starts, restarts and ends."""
