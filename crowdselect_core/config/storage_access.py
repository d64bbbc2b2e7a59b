"""Options of a file system by which a config would send the worker's credentials elsewhere.

File systems sign in with what the environment, the machine or a shared file has, on the server that
an option names. Other options name programs' files, proxies, or where on this machine copies lie.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from crowdselect_core.util.service_endpoints import is_own_s3, takes_hub_token

# What changes how something is read, and neither where nor as whom. Any other may.
_SAFE = frozenset(
    """access anon block_size blocksize cache_regions cache_timeout cache_type consistency
    default_block_size default_cache_type default_fill_cache default_location expand_info
    listings_expiry_time location max_concurrency max_workers project read_timeout
    requester_pays requests_timeout skip_instance_cache timeout use_listings_cache
    version_aware""".split()  # noqa: SIM905
)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")  # of Azure: with a / in it, it would be a host of its own


def unsafe_options(path: str, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options of a data set that may lead its credentials to another server.

    An S3 server is taken where it is that of the environment, or where nothing is signed (anon).

    Args:
        path: of the data set; the first protocol of its URL takes the options.
        options: its `storage_options`.
    """
    protocol = path.split("://", 1)[0]
    for name, value in options.items():
        if name in _SAFE or value is None:
            continue
        match name:
            case "endpoint_url" if protocol in ("s3", "s3a"):
                safe = options.get("anon") is True or is_own_s3(str(value))
            case "endpoint" if protocol == "hf":
                safe = takes_hub_token(str(value))
            case "profile":  # another one signs as somebody else, and may name a server
                safe = value == os.environ.get("AWS_PROFILE")
            case "account_name":
                safe = _ACCOUNT.fullmatch(str(value)) is not None
            case _:
                safe = False
        if not safe:
            yield name
