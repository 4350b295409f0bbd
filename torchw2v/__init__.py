"""torchw2v: gensim's Word2Vec, trained by PyTorch. `from torchw2v import TorchWord2Vec as Word2Vec`."""

from torchw2v._version import __version__
from torchw2v.queries import most_similar_batch
from torchw2v.word2vec import TorchWord2Vec

__all__ = ["TorchWord2Vec", "__version__", "most_similar_batch"]
