"""The names of all that a store holds: folders, manifests, shards, temporary files."""

import re

TEMPORARY = ".tmp-"  # files of this prefix are unfinished writes and no part of the store

BUILDING = f"{TEMPORARY}building-"  # what a build leaves in its folder while it runs

PROBE = ".probe-"  # what is written to find out whether a bucket can be written

FILE = "manifest.json"

STAGE = re.compile(r"[a-z][a-z0-9_-]*")

SHARD_NAME = re.compile(
    r"part-(?P<index>\d{5,})-of-(?P<plan>[0-9a-f]{8})-(?P<sha256>[0-9a-f]{64})\.parquet"
)

# Stages whose folders hold cells.
CELLS = ("generated", "scored", "annotated", "judged", "heldout-loss", "benchmark-result")

MODELS = "model"  # trained models: paid for, as cells are

SELECTIONS = "selections"  # records of selections; written and read elsewhere

IDENTITY = "identity.json"  # of cells: what the folder's name was made of

PACE = "pace.json"  # of cells: how fast they were made

ASKING = re.compile(r"asking-(?P<id>[0-9a-f]{32})-(?P<beat>\d+)\.txt")  # of cells: a live run's

SEGMENT = re.compile(r"cells-(?P<sha256>[0-9a-f]{64})\.parquet")

INDEX = re.compile(r"index-(?P<sha256>[0-9a-f]{64})\.keys")  # of cells: the keys of segments

RESULTS = {  # what a run writes into OUT
    "selection.parquet", "ranking.parquet", "train.jsonl", "sharegpt.jsonl", "alpaca.jsonl",
    "prompt_completion.jsonl", "train.yaml",
    "pairs.jsonl", "dataset_info.json", "membership.parquet", "drift.json", "manifest.json",
    "responses.parquet", "generation.json", "scores.parquet", "scoring.json",
    "leaderboard.parquet", "evaluation.json", "quality.json", "training.json", "training.parquet",
    "dataset_card.md", "report.html",
    "experiment.parquet", "comparisons.parquet", "overlaps.parquet", "advice.parquet",
    "sensitivity.parquet",
}  # fmt: skip

_FIGURE = re.compile(r"figures/(?:figures\.json|[a-z_]+\.(?:svg|png))")  # of a selection in OUT

_TRAINED = re.compile(r"model/[A-Za-z0-9_-][A-Za-z0-9_.-]*")  # files of a trained model in OUT

# Files of a benchmark in OUT: questions, answers, judgments.
_JUDGED = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*/(?:question\.jsonl|model_answer/[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl"
    r"|model_judgment/(?:[A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*\.jsonl)"
)

_RECORD = re.compile(rf"{SELECTIONS}/[a-z0-9-]+/(?:\d{{6}}|latest)\.json")

FOLDER_FILE = re.compile(r"(?P<stage>[a-z][a-z0-9_-]*)/(?P<key>[0-9a-f]{64})/(?P<file>[^/]+)")

TEMPORARY_FILE = re.compile(
    rf"(?:{SELECTIONS}/[a-z0-9-]+/|(?:[a-z][a-z0-9_-]*/)?(?:[0-9a-f]{{64}}/)?)"
    rf"(?:(?:{re.escape(TEMPORARY)}|{re.escape(PROBE)})[0-9a-z-]+|asking-[0-9a-f]{{32}}-\d+\.txt)"
)


def is_sign(name: str) -> bool:
    """Tell what somebody leaves in a folder while he works there."""
    file = name.rpartition("/")[2]
    return file.startswith(BUILDING) or ASKING.fullmatch(file) is not None


def is_record(name: str) -> bool:
    """Tell the name of a record of a selection, or of a pointer to one."""
    return _RECORD.fullmatch(name) is not None


def is_ours(stage: str, file: str) -> bool:
    """Tell the name of a file that the store writes into a stage's folder for good."""
    if stage in CELLS:
        named = SEGMENT.fullmatch(file) or INDEX.fullmatch(file)
        return file in (IDENTITY, PACE) or named is not None
    return file == FILE or SHARD_NAME.fullmatch(file) is not None


def is_written(name: str) -> bool:
    """Tell a name that a run writes below a store or an OUT, also if both are a whole bucket."""
    match = FOLDER_FILE.fullmatch(name)
    ours = match is not None and is_ours(match["stage"], match["file"])
    in_out = name in RESULTS or any(form.fullmatch(name) for form in (_FIGURE, _TRAINED, _JUDGED))
    return ours or in_out or is_record(name)
