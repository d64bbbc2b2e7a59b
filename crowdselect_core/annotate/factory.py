"""The kinds of annotations: what names their cells, what makes them, what methods read of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from crowdselect_core.annotate import deita_grades, ifd_values, rds_values, tags
from crowdselect_core.annotate.base import Annotator, Row
from crowdselect_core.annotate.grades import PROMPT, GradeAnnotator, prompt_of
from crowdselect_core.annotate.targets import Target, read_targets
from crowdselect_core.config.engine import EngineConfig
from crowdselect_core.config.method_models import LanguageModel, LocalModel
from crowdselect_core.config.select import SelectConfig
from crowdselect_core.errors import ConfigError
from crowdselect_core.generate.base import Engine
from crowdselect_core.generate.factory import open_engine
from crowdselect_core.generate.identity import engine_identity, sampling_identity
from crowdselect_core.models.devices import torch_device
from crowdselect_core.models.hub import model_identity
from crowdselect_core.reward.factory import Resources
from crowdselect_core.store.identity import Spec
from crowdselect_core.tables import Columns

STAGE, VERSION = "annotated", 1


def no_targets(config: SelectConfig) -> Sequence[Target]:
    """Return nothing: the rows alone are annotated."""
    return ()


@dataclass(frozen=True)
class Kind:
    """One kind of annotation.

    Args:
        cell: the columns of a cell beside its key and error.
        reads_response: whether it reads the answer that would be kept.
        identity: what of the config changes a cell.
        open: makes the annotator; nothing is loaded, started or asked yet.
        values: from cells (with `error`), and those of the targets, to what the method ranks by,
            and `lacks`, row by row.
        targets: what is annotated beside the rows.
        prompts: what an LLM is asked about a row, a request each; None for a model that runs in
            this process.
        local: the config of a model that runs in this process; None for an LLM.
        engine: what runs the LLM; None for a model that runs in this process.
        max_unparsed: share of a run's rows whose replies may be unreadable.
        wanted: whether the method needs it; else what it ranks by is in the data set.
    """

    cell: Columns
    reads_response: bool
    identity: Callable[[SelectConfig], dict[str, Any]]
    open: Callable[[SelectConfig, Resources], Annotator]
    values: Callable[[SelectConfig, pl.DataFrame, pl.DataFrame], pl.DataFrame]
    targets: Callable[[SelectConfig], Sequence[Target]] = no_targets
    prompts: Callable[[SelectConfig, Row], list[str]] | None = None
    local: Callable[[SelectConfig], LocalModel] | None = None
    engine: Callable[[SelectConfig], EngineConfig | None] = lambda config: None
    max_unparsed: Callable[[SelectConfig], float] = lambda config: 1.0
    wanted: Callable[[SelectConfig], bool] = lambda config: True


def kind_of(config: SelectConfig) -> Kind:
    """Return the kind of annotation that the config's method needs."""
    return KINDS[config.method]


def annotates(config: SelectConfig) -> bool:
    """Tell a config whose method needs a model to say something of every row."""
    return config.method in KINDS and kind_of(config).wanted(config)


def cache_spec(config: SelectConfig, trained: str | None = None) -> Spec:
    """Name the cells of the config's method; what runs the model is left out.

    Args:
        config: the method and its model.
        trained: key of the artifact that the model was trained to first.

    Raises:
        ConfigError: no model is named, or its weights are not there.
    """
    identity = {"kind": config.method, **kind_of(config).identity(config)}
    return Spec(STAGE, VERSION, identity | ({"trained": trained} if trained else {}))


def local_identity(key: str, config: LocalModel, model: str) -> dict[str, Any]:
    """Name the weights of a model that runs in this process, and how they are read.

    Raises:
        ConfigError: they are not there; `key` is the config key that names the model.
    """
    try:
        weights = model_identity(model, config.revision)
    except ConfigError as e:
        raise ConfigError(f"{key}: {e}") from None
    return {
        "weights": weights,
        "dtype": config.dtype,
        "attn_implementation": config.attn_implementation,
    }


def _ifd_identity(config: SelectConfig) -> dict[str, Any]:
    own = config.ifd
    identity = local_identity("ifd.model", own, own.required_model)
    identity |= {"variant": own.variant, "max_length": own.tokens}
    if own.pre_experienced is not None:
        identity["pre_experienced"] = own.pre_experienced.model_dump(mode="json")
    return identity | {"digits": ifd_values.DIGITS}


def _open_ifd(config: SelectConfig, resources: Resources) -> Annotator:
    from crowdselect_core.annotate.ifd import IfdAnnotator

    device = config.ifd.device or torch_device(resources.gpus)
    return IfdAnnotator(config.ifd.model_copy(update={"device": device}))


def _rds_identity(config: SelectConfig) -> dict[str, Any]:
    own = config.rds
    return local_identity("rds.model", own, own.required_model) | {"max_length": own.max_length}


def _open_rds(config: SelectConfig, resources: Resources) -> Annotator:
    from crowdselect_core.annotate.hidden_states import HiddenStateAnnotator

    device = config.rds.device or torch_device(resources.gpus)
    return HiddenStateAnnotator(config.rds.model_copy(update={"device": device}))


def llm_identity(name: str, own: LanguageModel, engine: EngineConfig) -> dict[str, Any]:
    """Name the LLM that is asked, and how its replies are sampled."""
    return {
        **engine_identity(engine, name, own.revision),
        "sampling": sampling_identity(own.sampling),
        "chat_template_kwargs": own.chat_template_kwargs,
    }


def _grade_identity(config: SelectConfig) -> dict[str, Any]:
    own = config.direct_score
    llm = llm_identity("direct-score", own, own.required_engine)
    return llm | {"prompt": PROMPT, "dimension": own.dimension}


def _open_grades(config: SelectConfig, resources: Resources) -> Annotator:
    own = config.direct_score
    return GradeAnnotator(own, _engine("direct-score", own, own.required_engine, resources))


def _tag_identity(config: SelectConfig) -> dict[str, Any]:
    own = config.instag
    return llm_identity("instag", own, own.required_engine) | {"prompt": tags.PROMPT}


def _open_tags(config: SelectConfig, resources: Resources) -> Annotator:
    own = config.instag
    return tags.TagAnnotator(own, _engine("instag", own, own.required_engine, resources))


def _tags(config: SelectConfig, cells: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    lacks = cells["error"].str.split(":").list.first()
    return cells.select("tags").with_columns(lacks=lacks)


def _deita_identity(config: SelectConfig) -> dict[str, Any]:
    own = config.deita
    prompts = [deita_grades.COMPLEXITY, deita_grades.QUALITY]
    return llm_identity("deita", own, own.required_engine) | {"prompts": prompts}


def _deita_prompts(config: SelectConfig, row: Row) -> list[str]:
    return deita_grades.prompts_of(deita_grades.turns_of(row.messages, row.response))


def _open_deita(config: SelectConfig, resources: Resources) -> Annotator:
    own = config.deita
    engine = _engine("deita", own, own.required_engine, resources)
    return deita_grades.DeitaAnnotator(own, engine)


def _deita(config: SelectConfig, cells: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    lacks = cells["error"].str.split(":").list.first()
    return cells.select("complexity", "quality").with_columns(lacks=lacks)


def _engine(name: str, own: LanguageModel, config: EngineConfig, resources: Resources) -> Engine:
    engine = open_engine(
        name, config, own.sampling, own.chat_template_kwargs, own.revision, resources.secret,
        resources.gpus, host=resources.host,
    )  # fmt: skip
    engine.stopped = resources.stopped
    return engine


def _grades(config: SelectConfig, cells: pl.DataFrame, targets: pl.DataFrame) -> pl.DataFrame:
    lacks = cells["error"].str.split(":").list.first()
    return cells.select(pl.col("score").alias("direct_score")).with_columns(lacks=lacks)


KINDS: Mapping[str, Kind] = {
    "instag": Kind(
        cell={"tags": pl.List(pl.String), "raw": pl.String},
        reads_response=False,
        identity=_tag_identity,
        open=_open_tags,
        values=_tags,
        prompts=lambda config, row: [tags.prompt_of(row.instruction)],
        engine=lambda config: config.instag.engine,
        max_unparsed=lambda config: config.instag.max_unparsed,
    ),
    "deita": Kind(
        cell={"complexity": pl.List(pl.Float64), "quality": pl.List(pl.Float64), "raw": pl.String},
        reads_response=True,
        identity=_deita_identity,
        open=_open_deita,
        values=_deita,
        prompts=_deita_prompts,
        engine=lambda config: config.deita.engine,
        max_unparsed=lambda config: config.deita.max_unparsed,
        wanted=lambda config: config.deita.is_graded,
    ),
    "direct-score": Kind(
        cell={"score": pl.Float64, "raw": pl.String},
        reads_response=True,
        identity=_grade_identity,
        open=_open_grades,
        values=_grades,
        prompts=lambda config, row: [
            prompt_of(config.direct_score.dimension, row.instruction, row.response)
        ],
        engine=lambda config: config.direct_score.engine,
        max_unparsed=lambda config: config.direct_score.max_unparsed,
    ),
    "ifd": Kind(
        cell=ifd_values.CELL,
        reads_response=True,
        identity=_ifd_identity,
        open=_open_ifd,
        values=lambda config, cells, targets: ifd_values.ifd_values(config.ifd, cells),
        local=lambda config: config.ifd,
    ),
    "rds+": Kind(
        cell=rds_values.CELL,
        reads_response=True,
        identity=_rds_identity,
        open=_open_rds,
        values=lambda config, cells, targets: rds_values.rds_values(cells, targets),
        local=lambda config: config.rds,
        targets=lambda config: read_targets(config.rds.required_targets),
    ),
}
