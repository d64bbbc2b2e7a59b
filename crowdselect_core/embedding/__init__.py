"""From instructions to vectors: one file per kind of embedder.

`lexical` needs nothing but the texts, `models` a sentence-transformers model; vectors that the
data set has already are read where the data set is.
"""

from crowdselect_core.embedding.base import FIT_ROWS, Embedder, Vectors, fit_sample, fit_vectors
from crowdselect_core.embedding.lexical import LexicalEmbedder, fit_lexical
from crowdselect_core.embedding.sentence_transformer import SentenceTransformerEmbedder, load_model

__all__ = [
    "FIT_ROWS",
    "Embedder",
    "LexicalEmbedder",
    "SentenceTransformerEmbedder",
    "Vectors",
    "fit_lexical",
    "fit_sample",
    "fit_vectors",
    "load_model",
]
