"""Names of files that are nobody's data."""

from kmax_tf.files.hidden import is_hidden


def test_files_of_the_system():
    for name in ("._a.jpg", ".DS_Store", ".hidden.png", "Thumbs.db", "THUMBS.DB", "desktop.ini"):
        assert is_hidden(name)
    for name in ("a.jpg", "_a.jpg", "thumbs.jpg"):
        assert not is_hidden(name)
