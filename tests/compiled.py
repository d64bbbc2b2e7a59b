"""Imports the large libraries of the tests once: Python keeps what it compiled for all that follow.

pip leaves that to the first import, and the processes that share the tests out start at once: each
of them would compile the same.
"""

from importlib import import_module

from warm import IMPORTED, MODEL_LIBRARIES

FURTHER = ("prefect.server.api.server", "prefect.cli.server", "matplotlib.figure", "pandas",
           "sklearn.linear_model", "hypothesis", "scipy.stats")  # fmt: skip

if __name__ == "__main__":
    for name in (*IMPORTED, *MODEL_LIBRARIES, *FURTHER):
        import_module(name)
