"""No JSON schema of a flow's parameters where nobody reads it.

Prefect makes one when a flow is defined, which takes half a second for each flow of a large config.
Deployments need it, a command does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def skipped() -> Iterator[None]:
    """Have flows that are defined (imported) in this block no schema of their parameters."""
    import prefect.flows
    from prefect.utilities.callables import ParameterSchema

    names = vars(prefect.flows)
    made = names["parameter_schema"]
    names["parameter_schema"] = lambda _: ParameterSchema()
    try:
        yield
    finally:
        names["parameter_schema"] = made
