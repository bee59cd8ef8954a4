"""The base class of errors that a user can fix."""


class UserError(ValueError):
    """An error that a user can fix: the message names the file, field or record, what is wrong and what to do.

    Commands print the message and exit with code 1; any other exception is a bug in the program.
    """
