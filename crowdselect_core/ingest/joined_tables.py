"""Our own OUT/responses.parquet with OUT/scores.parquet beside it: one long table of both."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import pyarrow as pa

from crowdselect_core.ingest.listing import OURS
from crowdselect_core.ingest.reader import Batch, Leaf, Partition, Reader


def are_ours(paths: Sequence[str]) -> bool:
    """Tell the two tables by their names, in name order."""
    return tuple(path.rsplit("/", 1)[-1] for path in paths) == OURS


class JoinedTables:
    """The rows of the answers; `scores` holds theirs, by instruction, model and sample."""

    def __init__(self, responses: Reader, scores: Reader) -> None:
        self.responses, self.scores = responses, scores

    def fingerprint(self) -> str:
        both = [self.responses.fingerprint(), self.scores.fingerprint()]
        return sha256("\n".join(both).encode()).hexdigest()

    def digests(self) -> list[str]:
        return [self.fingerprint()]

    def schema(self) -> pa.Schema:
        """Return the columns of the answers, and of the scores those that these lack."""
        fields = {f.name: f for f in self.scores.schema()} | {
            f.name: f for f in self.responses.schema()
        }
        return pa.schema(list(fields.values()))

    def partitions(self, rows: int) -> list[Partition]:
        return self.responses.partitions(rows)

    def read(self, partition: Partition, leaves: Sequence[Leaf]) -> Iterator[Batch]:
        return self.responses.read(partition, leaves)

    def source(self, file: int) -> str:
        return self.responses.source(file)

    def place(self, row: int) -> str:
        return self.responses.place(row)
