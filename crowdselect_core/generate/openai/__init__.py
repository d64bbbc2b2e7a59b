"""Generation by any endpoint that speaks OpenAI's API."""
