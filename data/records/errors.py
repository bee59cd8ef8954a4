"""The error of this package."""

from protos.errors import UserError


class DataError(UserError):
    """Data that cannot be used; the message names the file and says what to do."""
