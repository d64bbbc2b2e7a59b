"""The keys of a config that may be published, of each section: what made the rows, and no other.

A key that is not listed is left out, so a new one is private until somebody lists it. Texts that
people write for a model (system prompts, rubrics, patterns, options that are passed through) are
theirs; so is what says where, how fast or at what price something ran.
"""

from collections.abc import Mapping

from pydantic import BaseModel

from crowdselect_core.config.choice import ChoiceConfig
from crowdselect_core.config.crowd import CrowdModel
from crowdselect_core.config.dataset import DatasetConfig
from crowdselect_core.config.embedder import EmbedderConfig
from crowdselect_core.config.engine import (
    OpenAIEngineConfig,
    SamplingConfig,
    TransformersEngineConfig,
    VllmEngineConfig,
)
from crowdselect_core.config.export import PairsConfig
from crowdselect_core.config.heldout import HeldoutConfig, SubsampleConfig
from crowdselect_core.config.method_models import (
    DeitaConfig,
    DirectScoreConfig,
    IfdConfig,
    InstagConfig,
    LanguageModel,
    LocalModel,
    PreExperiencedConfig,
    RdsConfig,
)
from crowdselect_core.config.methods import FunctionConfig, LengthConfig, TeacherConfig
from crowdselect_core.config.quality import DecontaminationGate, DuplicatesGate, QualityConfig
from crowdselect_core.config.reward import (
    ClassifierReward,
    FunctionReward,
    JudgeReward,
    LikelihoodReward,
    ModelReward,
    RewardBase,
)
from crowdselect_core.config.row_gates import (
    BrokenGate,
    LanguageGate,
    LengthGate,
    LengthLimits,
    RefusalGate,
    RepetitionGate,
)
from crowdselect_core.config.select import SelectConfig

# A class has the keys of its bases too.
_KEYS: Mapping[type[BaseModel], str] = {
    ChoiceConfig: """crowd reward_models embedder method length teacher ifd deita rds direct_score
        instag function direction budget budget_tokens budget_tokens_of tokenizer clusters weights
        quota response min_scores reference_model allow_short include exclude""",
    SelectConfig: "dataset quality heldout subsample limit export pairs seed",
    DatasetConfig: "path format name split revision columns",
    CrowdModel: "name family size revision license role engine sampling",
    OpenAIEngineConfig: "kind model",
    VllmEngineConfig: "kind model dtype quantization trust_remote_code",
    TransformersEngineConfig: """kind model dtype attn_implementation trust_remote_code
        max_model_len""",
    SamplingConfig: """temperature top_p top_k min_p max_tokens stop presence_penalty
        frequency_penalty repetition_penalty seed n""",
    RewardBase: "name revision conformance",
    ModelReward: "model max_length dtype attn_implementation trust_remote_code",
    ClassifierReward: "kind engine heads",
    LikelihoodReward: "kind",
    JudgeReward: "kind engine sampling mode reference_model scale",
    FunctionReward: "kind path version columns",
    EmbedderConfig: """kind model revision trust_remote_code task prompt_name normalize dtype
        max_length column""",
    LengthConfig: "of tokenizer",
    TeacherConfig: "model",
    FunctionConfig: "version",
    LocalModel: "model revision dtype attn_implementation trust_remote_code",
    IfdConfig: "variant max_length pre_experienced",
    PreExperiencedConfig: """rows clusters num_train_epochs learning_rate global_batch_size
        max_length""",
    RdsConfig: "targets max_length",
    LanguageModel: "engine revision sampling max_unparsed",
    DeitaConfig: "complexity quality threshold",
    DirectScoreConfig: "dimension",
    InstagConfig: "min_frequency embedder similarity",
    PairsConfig: "rejected min_margin",
    HeldoutConfig: "share file seed answers",
    SubsampleConfig: "share seed",
    QualityConfig: "language length refusals broken repetition decontamination duplicates",
    LanguageGate: "languages of min_probability min_letters",
    LengthGate: "instruction response",
    LengthLimits: "min_words max_words min_characters max_characters",
    RefusalGate: "characters",
    BrokenGate: "characters code_fences unfinished",
    RepetitionGate: """min_words duplicate_lines duplicate_paragraphs duplicate_line_characters
        duplicate_paragraph_characters top_ngrams duplicate_ngrams""",
    DecontaminationGate: "against ngram min_overlap similarity",
    DuplicatesGate: "exact normalised near semantic",
}


def public_keys(config: type[BaseModel]) -> set[str]:
    """Return the keys of a config that may be published; none of one that is not listed."""
    return {key for base in config.__mro__ for key in _KEYS.get(base, "").split()}
