"""Exceptions for bad input."""


class ActionRecError(Exception):
    """Something the user gave is wrong; the message is one line that names the thing and the mend.

    The command lines print it without a traceback and exit with status 1.
    """


class DivergedError(ActionRecError):
    """The loss of a training is not finite; other settings may do better."""
