"""Errors a user can act on. The command line prints each as one line and exits with code 2."""


class SeennError(Exception):
    """Input that cannot be used: the message names the object, the value found and the remedy.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> try:
    ...     sd.load("bulid")
    ... except sd.SeennError as error:
    ...     print(error)
    bulid: no such folder; name what program.save or simulate(.., out=..) wrote
    """


class ArgumentError(SeennError, TypeError):
    """An argument of the wrong type: the message says what to pass."""


class ModelError(SeennError):
    """A checkpoint or a graph that cannot be lowered."""


class DataError(SeennError):
    """Images or labels that do not fit the program."""


class UnreachableError(DataError):
    """A file of images that is missing where somebody looks for it, or that nothing gives out."""


class DataWarning(UserWarning):
    """What was done to images or labels that fit the program only so; the command line says it."""


class ProgramError(SeennError):
    """A program folder or bundle that cannot be read, or was altered."""


class DeviceError(SeennError):
    """A device that is missing, of the wrong version, or that failed while running."""


class TrainingError(SeennError):
    """A training run that cannot go on: its loss or weights are no longer finite."""


class ResourceError(SeennError, MemoryError):
    """Work that needs more memory than there is: the message says how much, and what to do."""
