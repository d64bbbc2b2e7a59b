"""How a build's parts are run."""
