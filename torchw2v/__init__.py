"""torchw2v: gensim's Word2Vec, trained by PyTorch. `from torchw2v import TorchWord2Vec as Word2Vec`."""

from torchw2v._version import __version__
from torchw2v.patch import patch_gensim, patched, unpatch_gensim
from torchw2v.word2vec import TorchWord2Vec

__all__ = ["TorchWord2Vec", "__version__", "patch_gensim", "patched", "unpatch_gensim"]
