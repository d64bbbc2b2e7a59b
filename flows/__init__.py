"""The flows: each is `python -m flows.NAME` and a deployment entrypoint."""
