"""A task of Prefect that asks an endpoint whose key is exchanged in mid-run: `renewing_run NEW`."""

import sys
from dataclasses import replace
from functools import partial

from endpoint import engine, request, served
from prefect import flow, task
from prefect.blocks.system import Secret

from crowdselect_core.generate.base import Answer
from tasks.secrets import secret

OLD = "MARKEDrenewOLD"
BLOCK = "renewed"


@task
def asked(new: str) -> list[str]:
    """Return the errors of 60 answers; another client changes the block after the 20th."""
    got: list[Answer] = []
    Secret(value=OLD).save(BLOCK, overwrite=True)
    with served(key=OLD) as server:

        def done(answer: Answer) -> None:
            got.append(answer)
            if len(got) == 20:
                server.endpoint.options = replace(server.endpoint.options, key=new)
                # The event loop of the engine runs here: a call of Prefect's would be a coroutine.
                Secret(value=new).save(BLOCK, overwrite=True, _sync=True)

        model = engine(server.url, api_key=partial(secret, BLOCK), concurrency=4)
        model.run(iter([request(i, f"topic {i}") for i in range(60)]), done)
    return [answer.error for answer in got if answer.error] + ["missing"] * (60 - len(got))


@flow
def renewing(new: str) -> None:
    """Ask, and say what failed."""
    print("failed:", asked(new))


if __name__ == "__main__":
    renewing(sys.argv[1])
