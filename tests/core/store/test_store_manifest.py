"""A manifest comes back as it was written, or it is damaged; nothing between."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from crowdselect_core.errors import DamagedArtifact
from crowdselect_core.store.identity import Spec
from crowdselect_core.store.manifest import Manifest, Shard
from crowdselect_core.store.names import SHARD_NAME

SPEC = Spec("scores", 1, {"crowd": ["ä", "b"], "seed": 7}, {"instructions": "k"})
DIGEST = sha256(b"shard").hexdigest()
SHARD = Shard(f"part-00000-of-0a1b2c3d-{DIGEST}.parquet", 10, 5, DIGEST)
MANIFEST = Manifest(
    stage=SPEC.stage, version=SPEC.version, key=SPEC.key, identity=SPEC.identity,
    inputs=SPEC.inputs, rows=10, counts={"missing": 3}, shards=(SHARD,),
    facts={"mean": 0.5, "text": "x\n|"},
)  # fmt: skip


def test_round_trip() -> None:
    assert Manifest.decode(MANIFEST.encode()) == MANIFEST
    assert Manifest.decode(MANIFEST.encode(), SPEC) == MANIFEST
    assert Manifest.decode(MANIFEST.encode()).encode() == MANIFEST.encode()


def test_the_same_work_gives_the_same_bytes() -> None:
    turned = replace(MANIFEST, identity=dict(reversed(list(MANIFEST.identity.items()))))
    assert turned.encode() == MANIFEST.encode()


@pytest.mark.parametrize("bit", range(8))
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    data = MANIFEST.encode()
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        with pytest.raises(DamagedArtifact):
            Manifest.decode(bytes(flipped))


def test_every_cut_is_noticed() -> None:
    data = MANIFEST.encode()
    for length in range(len(data)):
        with pytest.raises(DamagedArtifact):
            Manifest.decode(data[:length])


def test_the_same_content_in_other_bytes_is_damage() -> None:
    data = MANIFEST.encode()
    body = json.loads(data)
    others = [
        json.dumps(body, indent=1, sort_keys=True, ensure_ascii=True).encode() + b"\n",
        json.dumps(body, sort_keys=True, ensure_ascii=False).encode() + b"\n",
        json.dumps(dict(reversed(body.items())), indent=1, ensure_ascii=False).encode() + b"\n",
        data + b"\n",
        data[:-1],
        b"\xef\xbb\xbf" + data,
        data.replace(b'"rows": 10', b'"rows": 10.0'),
        data.replace(b'"version": 1', b'"version": 1,\n "version": 1'),
    ]
    for other in others:
        assert other != data
        with pytest.raises(DamagedArtifact):
            Manifest.decode(other)


@pytest.mark.parametrize(
    "shard",
    [{"rows": -10}, {"rows": 11}, {"bytes": -1}, {"bytes": 5.0}, {"bytes": True}, {"bytes": "5"}],
)
def test_impossible_sizes_are_damage(shard: dict[str, Any]) -> None:
    with pytest.raises(DamagedArtifact, match="rows or bytes that its shards cannot have"):
        Manifest.decode(replace(MANIFEST, shards=(replace(SHARD, **shard),)).encode())


def test_text_that_is_no_text_is_damage() -> None:
    data = MANIFEST.encode().replace("ä".encode(), b"\\ud800")
    with pytest.raises(DamagedArtifact, match="unreadable"):
        Manifest.decode(data)


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{}", b'"x"', b"1", b"\x80\x04N.", b'{"sha256":"x","shards":[1]}',
     b'{"sha256":"x","shards":null}', b'{"sha256":"x","shards":{"a":1}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_manifest_is_damage(data: bytes) -> None:
    with pytest.raises(DamagedArtifact):
        Manifest.decode(data)


def test_another_artifacts_manifest_is_damage() -> None:
    other = replace(SPEC, identity={**SPEC.identity, "seed": 8})
    with pytest.raises(DamagedArtifact, match="another artifact's"):
        Manifest.decode(MANIFEST.encode(), other)
    with pytest.raises(DamagedArtifact, match="another artifact's"):  # its key is not its content's
        Manifest.decode(replace(MANIFEST, key=other.key).encode())


@pytest.mark.parametrize(
    "name",
    [
        SHARD.name.replace(DIGEST, sha256(b"other").hexdigest()),  # another digest than it claims
        f"../../{SHARD.name}",
        f"{SHARD.name}.pkl",
        f"{SHARD.name}\n",
        "part-0.parquet",
        "/etc/passwd",
    ],
)
def test_a_shard_that_is_none_of_ours_is_damage(name: str) -> None:
    with pytest.raises(DamagedArtifact, match="none of this store's"):
        Manifest.decode(replace(MANIFEST, shards=(replace(SHARD, name=name),)).encode())


def test_shard_names_hold_index_cut_and_digest() -> None:
    match = SHARD_NAME.fullmatch(SHARD.name)
    assert match is not None
    assert match.groupdict() == {"index": "00000", "plan": "0a1b2c3d", "sha256": DIGEST}
