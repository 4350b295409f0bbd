"""torchw2v: gensim's Word2Vec, trained by PyTorch. `from torchw2v import TorchWord2Vec as Word2Vec`."""

from torchw2v._version import __version__
from torchw2v.atomic import atomic_write
from torchw2v.callbacks import StopTraining, TensorBoardWriter
from torchw2v.embedding import EmbeddingLayer, to_embedding
from torchw2v.patch import patch_gensim, patched, unpatch_gensim
from torchw2v.projector import export_projector
from torchw2v.queries import most_similar_batch
from torchw2v.safetensors_files import load_vectors_safetensors, save_vectors_safetensors
from torchw2v.sentence_models import to_model2vec, to_static_embedding
from torchw2v.token_batches import TokenBatch, TokenDataset, TokenVocabulary
from torchw2v.word2vec import TorchWord2Vec

__all__ = [
    "EmbeddingLayer",
    "StopTraining",
    "TensorBoardWriter",
    "TokenBatch",
    "TokenDataset",
    "TokenVocabulary",
    "TorchWord2Vec",
    "__version__",
    "atomic_write",
    "export_projector",
    "load_vectors_safetensors",
    "most_similar_batch",
    "patch_gensim",
    "patched",
    "save_vectors_safetensors",
    "to_embedding",
    "to_model2vec",
    "to_static_embedding",
    "unpatch_gensim",
]
