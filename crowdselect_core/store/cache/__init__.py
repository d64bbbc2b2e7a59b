"""The call cache: answers and scores stored one by one, shared between runs."""
