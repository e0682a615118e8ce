"""The one exception for bad input."""


class ActionRecError(Exception):
    """Something the user gave is wrong; the message is one line that names the thing and the mend.

    The command lines print it without a traceback and exit with status 1.
    """
