"""The stages of a live crowd: prompts, responses, rewards, and the zoo made of them."""
