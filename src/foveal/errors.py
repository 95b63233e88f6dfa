"""The errors that foveal raises on purpose.

A message says where, what is wrong, what was expected and what to do next. Each class is a kind of
mistake that a caller may want to tell apart; anything else that escapes is a bug of ours.
"""


class FovealError(Exception):
    """Base of every error raised on purpose; the command line prints it without a traceback.

    Examples:
        >>> try:
        ...     foveal.read("nothing")
        ... except foveal.FovealError as error:
        ...     print(error)
        /.../nothing does not exist. Expected annotations there: ...
    """


class SettingsError(FovealError):
    """A setting has an unknown name, a wrong type or a value out of range."""


class DataError(FovealError):
    """Annotations, a data folder or class names can't be read or contradict each other."""


class ImageError(DataError):
    """An image is missing, empty, broken, too large or of a kind that can't be read."""


class WeightsError(FovealError):
    """Backbone weights or a foreign checkpoint can't be found, read or matched to the network."""


class ModelFileError(FovealError):
    """A model file is not ours, is cut short, or was written in another format version."""


class TrainingError(FovealError):
    """A training run can't start, go on or be resumed."""


class DeviceMemoryError(TrainingError):
    """The memory of the device is too small for a training step."""


class TrainingInterrupted(TrainingError):  # noqa: N818
    """A run was stopped by a signal, after it wrote what resuming it needs."""


class TrainingDiverged(TrainingError):  # noqa: N818
    """Losses or weights of a run are no longer finite: what it trained is lost."""


class MissingExtraError(FovealError):
    """An optional package is needed; the message ends in the line that installs it.

    Attributes:
        line: what is missing and the line that installs it: the same for all that lack it.
        needed_by: the file that needs it; nothing where no file does.
    """

    def __init__(self, line: str, needed_by: str = "") -> None:
        super().__init__(line, needed_by)  # both, so that it can be pickled
        self.line = line
        self.needed_by = needed_by

    def __str__(self) -> str:
        return f"{self.needed_by}: {self.line}" if self.needed_by else self.line
