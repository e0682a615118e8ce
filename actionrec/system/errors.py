"""Exceptions for bad input."""


class ActionRecError(Exception):
    """The user's input is wrong; the message is one line that names the mistake and the mend.

    The commands print the message without a traceback and exit with status 1.
    """


class DivergedError(ActionRecError):
    """The training loss is not finite; other settings may train."""
