"""The address of a Ray cluster: where it was named, and whether anything answers there."""

import os
import socket
from dataclasses import dataclass

from crowdselect_core.config.executor import AUTO, address_problem
from crowdselect_core.errors import ConfigError, first_line

REACHED = 10.0  # seconds to reach a head node; Ray itself tries for minutes and says nothing
VARIABLE = "RAY_ADDRESS"


@dataclass(frozen=True)
class Address:
    """An address, and what named it.

    Args:
        text: HOST:PORT of the head node, or auto.
        source: the key or variable that named it.
    """

    text: str
    source: str

    def __str__(self) -> str:
        return f"{self.source} {self.text!r}"

    @property
    def has_port(self) -> bool:
        """Whether it is HOST:PORT; where it is auto, Ray alone knows the port."""
        return self.text != AUTO


def address_of(own: str | None) -> Address:
    """Return the address that is meant, as Ray takes it.

    Args:
        own: executor.address; where it is None or auto, that of RAY_ADDRESS counts.

    Raises:
        ConfigError: RAY_ADDRESS is no address that is taken.
    """
    if own not in (None, AUTO):
        return Address(own, "executor.address")
    found = os.environ.get(VARIABLE)
    if not found:
        return Address(AUTO, "executor.address")
    if problem := address_problem(found):
        raise ConfigError(f"{VARIABLE} in the environment: {problem}")
    return Address(found, VARIABLE)


def check_reachable(address: Address) -> None:
    """See that something listens there; what that is, Ray alone finds out.

    Raises:
        ConfigError: nothing does.
    """
    if not address.has_port:
        return
    host, _, port = address.text.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=REACHED).close()
    except (OSError, UnicodeError) as e:  # UnicodeError: no name that a host can have
        raise unreachable(address, first_line(e)) from None


def unreachable(address: Address, why: str) -> ConfigError:
    """Return what to raise where no cluster is."""
    return ConfigError(
        f"{address}: no Ray cluster can be reached there ({why}): start one by "
        "`ray start --head`, run on one of its nodes, or use executor threads"
    )
