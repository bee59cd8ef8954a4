"""The base class of all errors that a user can act on."""


class UserError(ValueError):
    """Something a user can act on: the message names the file, field or record, what is wrong with it and what to do.

    Commands print the message of such an error and end with exit code 1; any other exception is a defect of the program.
    """
