"""The config of the executor: where the parts of a stage are computed."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from crowdselect_core.config.base import Frozen, Named

AUTO = "auto"  # the cluster of this machine
_HOST_PORT = re.compile(r"[^\s/:@]+:(?P<port>\d{1,5})")
PORTS = range(1, 1 << 16)
SMALLEST = 4  # decimals of an amount that Ray counts
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT])(i?)B")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}


def _amount(value: float) -> float:
    if round(value, SMALLEST) != value:
        raise ValueError(f"Ray counts in steps of {10**-SMALLEST:.4f}, found {value:.10g}")
    return value


def _whole_gpus(value: float) -> float:
    if value > 1 and value != int(value):
        raise ValueError(f"expected a share of one GPU, or a whole number of them, found {value:g}")
    return value


def _bytes(value: Any) -> Any:
    """Return the bytes that a text with a unit stands for; anything else as it is."""
    if not isinstance(value, str) or value.strip().isdecimal():
        return value
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError(
            "expected bytes, as a number or with a unit (KiB, MiB, GiB, TiB, or KB, MB, GB, TB), "
            f"such as 4GiB, found {value!r}"
        )
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** _POWERS[unit])


Cpus = Annotated[float, Field(gt=0), AfterValidator(_amount)]
Gpus = Annotated[float, Field(ge=0), AfterValidator(_amount), AfterValidator(_whole_gpus)]
# The schema is what a form of the Prefect UI may be given: a size as it is written, too.
Bytes = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
]


class PartResources(Frozen):
    """What one part takes of a node of the cluster, as Ray counts it."""

    cpus: Cpus | None = Field(None, description="CPUs; when empty, the stage's own number")
    gpus: Gpus | None = Field(
        None,
        description="GPUs, a share of one below 1, else a whole number; when empty, one for a "
        "stage that runs a model, where the cluster has any",
    )
    memory: Bytes | None = Field(
        None,
        description="Bytes that Ray sets aside for a part, as a number or like 4GiB; when empty, "
        "what the stage holds of all rows",
        examples=["4GiB"],
    )

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, value: Any) -> Any:
        if not isinstance(value, Mapping | cls):
            raise ValueError(f"expected a mapping such as {{cpus: 2, memory: 4GiB}}, found {value}")
        return value


class ExecutorConfig(Named):
    """Where the parts of a stage are computed; it changes no result. See docs/scaling.md."""

    kind: Literal["threads", "ray"] = Field(
        "threads",
        description="threads: `workers` threads of this process; ray: the workers of a Ray cluster",
    )
    address: str | None = Field(
        None,
        description="Ray: HOST:PORT of the head node, or auto for the cluster of this machine; "
        "when empty or auto, RAY_ADDRESS counts where it is set",
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
        examples=[{"embeddings": {"cpus": 2, "memory": "4GiB"}}],
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
    if "@" in address:
        return f"expected HOST:PORT or auto, found '***@{address.rpartition('@')[2]}'"
    if "://" in address:
        return (
            "expected HOST:PORT or auto; Ray's client (ray://) loses a run with its connection: "
            "start the run on a node of the cluster, e.g. by `ray job submit`"
        )
    found = _HOST_PORT.fullmatch(address)
    if found is not None and int(found["port"]) not in PORTS:
        return f"expected a port of 1 to {PORTS[-1]}, found {address!r}"
    if address == AUTO or found is not None:
        return None
    own = ": a Ray of its own would end with the run" if address == "local" else ""
    return f"expected HOST:PORT or auto, found {address!r}{own}"
