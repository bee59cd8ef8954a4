"""Checks of examples inside TensorFlow graphs, and what their errors say to users."""

import re

import tensorflow as tf

from protos.errors import one_line

_ASSERTION = re.compile(r"assertion failed: \[(?P<parts>.*?)\](?=\s*(\[\[|$))", re.DOTALL)
_TRACE = re.compile(r".*Detected at node .*?\n\n(?P<cause>[^\n]*)\n*\t? \[\[", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)")
_DECODERS = {
    "DecodeImage": "the image does not decode",
    "ExtractJpegShape": "the image does not decode",
    "DecodePng": "the label does not decode",
}


def require(condition: tf.Tensor, *parts: str | tf.Tensor) -> tf.Operation:
    """An operation that ends with an error unless `condition` holds; `parts`, strings and scalars, make up its message."""
    return tf.raw_ops.Assert(condition=condition, data=[tf.convert_to_tensor(part) for part in parts])


def assertion_message(error: tf.errors.OpError | UnicodeDecodeError) -> str | None:
    """The message of a check that failed; None if the error is another one."""
    found = _ASSERTION.search(_text(error))
    return found and _ESCAPED.sub(r"\1", found["parts"].replace("] [", ""))


def failure_message(error: tf.errors.OpError | UnicodeDecodeError) -> str:
    """What is wrong with an example whose decoding, in a function on the host, ended with `error`."""
    text = _text(error)
    # This message quotes the record, whose bytes often are no text.
    if not text or "Could not parse example input" in text:
        return "the record is not a tf.train.Example that TensorFlow can parse: convert it again"
    found = _TRACE.match(text)
    cause = found["cause"] if found else one_line(text)
    what = next((what for operation, what in _DECODERS.items() if operation in text), "the record does not parse")
    return assertion_message(error) or f"{what} ({cause}): convert this image again"


def _text(error: tf.errors.OpError | UnicodeDecodeError) -> str:
    return "" if isinstance(error, UnicodeDecodeError) else error.message or ""
