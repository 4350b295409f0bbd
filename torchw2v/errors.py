"""The exception family. Each class also inherits the type that gensim raises in the same place.

So `except RuntimeError` around `train()` in an existing program goes on catching what it caught.
"""

import pickle


class TorchW2VError(Exception):
    """Base of every error that torchw2v itself raises."""


class SettingError(TorchW2VError, ValueError):
    """A constructor argument or model attribute is out of its range."""


class SettingTypeError(SettingError, TypeError):
    """A size is not a number at all."""


class CorpusTypeError(TorchW2VError, TypeError):
    """What was given as a corpus is not one."""


class CorpusFileError(TorchW2VError, TypeError):
    """`corpus_file` is missing or is not a file (gensim raises TypeError here too)."""


class EmptyVocabularyError(TorchW2VError, RuntimeError):
    """No word survived `min_count` (or the corpus was empty)."""


class EngineUnavailableError(TorchW2VError, ValueError):
    """The engine or device asked for is unknown or cannot run on this machine."""


class DeviceMemoryError(TorchW2VError, RuntimeError):
    """The weights do not fit into the device's memory."""


class WeightsError(TorchW2VError, ValueError):
    """The starting weights have the wrong shape or hold NaN or infinity."""


class NoOutputVectorsError(TorchW2VError, AttributeError):
    """The model has no output rows of words."""


class TrainingDivergedError(TorchW2VError, FloatingPointError, RuntimeError):
    """A weight became NaN or infinite during training."""


class ModelTypeError(TorchW2VError, TypeError):
    """A model of another kind than the one that is needed."""


class FileFormatError(TorchW2VError, ValueError):
    """A file is malformed, cut short or of another version; or a model cannot be written in this format."""


class ModelFileError(FileFormatError, pickle.UnpicklingError):
    """A file that no saved model is in."""


class CheckpointError(TorchW2VError, RuntimeError):
    """A checkpoint cannot be written or read, or the folder belongs to another run."""


class CheckpointMissingError(CheckpointError, FileNotFoundError):
    """There is no checkpoint to resume from."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The corpus is not the one that the checkpoint's run was trained on."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; training goes on."""


class NothingToPlotError(TorchW2VError, ValueError):
    """No epoch has been trained."""


class QueryError(TorchW2VError, ValueError):
    """A query that has no answer: no key in it, a vector of the wrong size."""


class QueryTypeError(QueryError, TypeError):
    """What was given as queries is not a list of them."""


class UnknownKeyError(TorchW2VError, KeyError):
    """A key without a vector."""


class VectorsFileError(TorchW2VError, ValueError):
    """A file that holds no vectors, or damaged ones."""


class VocabularyFileError(TorchW2VError, ValueError):
    """A vocabulary file with a line that is not a word and its count."""


class TokenFileError(TorchW2VError, ValueError):
    """An encoded corpus (.tok) is damaged, cut short, of another version or of another vocabulary than it says."""
