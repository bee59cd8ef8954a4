"""The base of all errors that a command reports in one line."""


class UserError(ValueError):
    """Something a user can act on; the message names file, field or record, what is wrong and what to do."""
