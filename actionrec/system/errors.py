"""Exceptions for bad input."""


class ActionRecError(Exception):
    """The user's input is wrong; the message is one line that says what is wrong and how to fix it.

    The commands print the message without a traceback and exit with status 1.
    """


class DivergedError(ActionRecError):
    """The training loss is not finite; other settings may train."""
