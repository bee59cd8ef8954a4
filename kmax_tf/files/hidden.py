"""Files that systems put into folders of a user's data."""

_SYSTEM_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})


def is_hidden(name: str) -> bool:
    """Whether a file of this name is hidden (`._a.jpg`, `.DS_Store`) or one of the system's (`Thumbs.db`), and no data."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES
