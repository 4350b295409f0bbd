"""The exception family. Each class also inherits the type that gensim raises in the same place.

So `except RuntimeError` around `train()` in an existing program goes on catching what it caught.
"""


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


class TrainingDivergedError(TorchW2VError, FloatingPointError, RuntimeError):
    """A weight became NaN or infinite during training."""


class TokenFileError(TorchW2VError, ValueError):
    """An encoded corpus (.tok) is damaged, cut short, of another version or of another vocabulary than it says."""
