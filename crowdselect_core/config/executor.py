"""The config of the executor: where the parts of a stage are computed."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from crowdselect_core.config.base import Frozen, Named

AUTO = "auto"  # the cluster of this machine
_HOST_PORT = re.compile(r"[^\s/:]+:\d{1,5}")


class PartResources(Frozen):
    """What one part takes of a node of the cluster, as Ray counts it."""

    cpus: float | None = Field(None, gt=0, description="CPUs; when empty, the stage's own number")
    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs, a share of one below 1; when empty, one for a stage that runs a model, "
        "where the cluster has any",
    )
    memory: int | None = Field(
        None,
        ge=1,
        description="Bytes that Ray sets aside for a part; when empty, what the stage "
        "holds of all rows",
    )


class ExecutorConfig(Named):
    """Where the parts of a stage are computed; it changes no result. See docs/scaling.md."""

    kind: Literal["threads", "ray"] = Field(
        "threads",
        description="threads: `workers` threads of this process; ray: the workers of a Ray cluster",
    )
    address: str | None = Field(
        None,
        description="Ray: HOST:PORT of the head node, or auto for the cluster of this machine; "
        "when empty, RAY_ADDRESS, else auto",
        examples=["10.0.0.1:6379"],
    )
    pending: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Ray: parts of one stage that are handed to the cluster at a time",
    )
    retries: int = Field(
        5,
        ge=0,
        description="Ray: times that a part is computed again, or a vLLM server placed again, when "
        "its worker or node dies",
    )
    resources: dict[str, PartResources] = Field(
        {},
        description="Ray: what a part takes, by stage, and what a vLLM server takes: vllm",
        examples=[{"embeddings": {"gpus": 0.5}}],
    )

    @classmethod
    def keeps_keys(cls, name: str, below: Mapping[str, Any]) -> bool:
        """Keep address and resources, unless they are of another kind of executor."""
        return bool(below.get("kind", name) == name)

    @classmethod
    def from_name(cls, name: str) -> dict[str, Any]:
        """Return the keys that a bare name stands for."""
        return {"kind": name}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        fields = type(self).model_fields
        own = [n for n in fields if n != "kind" and getattr(self, n) != fields[n].default]
        if self.kind == "threads" and own:
            raise ValueError(f"{own[0]!r} is for kind ray: add kind: ray, or leave it out")
        if self.address is not None and (problem := address_problem(self.address)):
            raise ValueError(f"address: {problem}")
        return self


def address_problem(address: str) -> str | None:
    """Say what is wrong with the address of a cluster, the config's or that in RAY_ADDRESS."""
    if "://" in address:
        return (
            "expected HOST:PORT or auto; Ray's client (ray://) loses a run with its connection: "
            "start the run on a node of the cluster, e.g. by `ray job submit`"
        )
    if address == AUTO or _HOST_PORT.fullmatch(address):
        return None
    own = ": a Ray of its own would end with the run" if address == "local" else ""
    return f"expected HOST:PORT or auto, found {address!r}{own}"
