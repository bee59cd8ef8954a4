"""Runs a command, and turns errors that a user can fix into one line on stderr and an exit code."""

import contextlib
import ctypes
import errno
import gc
import os
import re
import signal
import sys
from collections.abc import Callable

import tensorflow as tf
from absl import app, flags, logging

from protos.errors import UserError, one_line

Main = Callable[[], int | None]
# Operations add their node and `[Op:...]`.
_FILE_ERROR = re.compile(r"(\{\{.*?\}\} )?(?P<path>.*); (?P<reason>.*?)( \[Op:\w+\])?")
_MISSING = re.compile(r"Flag --(\w+) must have a value other than None")


class Terminated(KeyboardInterrupt):
    """Raised on SIGTERM; handlers that clean up after Ctrl-C catch it too."""


def run_command(main: Main, *, interrupted: str = "interrupted") -> None:
    """Parses the flags, runs `main` and ends the process.

    Exit codes: the result of `main` (None: 0), 1 after an error that a user can fix (UserError, or an unreadable or unwritable
    file), 130 after Ctrl-C and 143 after SIGTERM. Other exceptions end in a stack trace.

    Args:
      main: the command; reads its flags itself.
      interrupted: what to print after Ctrl-C or SIGTERM.
    """

    def run(argv: list[str]) -> int | None:
        code = exit_code(main, argv[1:], interrupted=interrupted)
        # Before Python ends, it searches everything for garbage several times: with TensorFlow, that takes seconds.
        gc.freeze()
        return code

    _complete_help(main)
    app.run(run, flags_parser=_parse_flags)


def _parse_flags(arguments: list[str]) -> list[str]:
    """Parses the flags of the command line; ends the process with one line if one is unknown, missing or has a wrong value."""
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        missing = [f"--{name}" for name in _MISSING.findall(str(error))]
        problem = f"give {', '.join(missing)}" if missing else one_line(error)
        sys.exit(_fail(f"{problem}; --help explains all flags"))


def _complete_help(main: Main) -> None:
    """Makes --help show the docstring of the command's module and its flags, wherever they are defined.

    absl takes both from the module that was started, which for a console script is not that of the command.
    """
    sys.modules["__main__"].__doc__ = sys.modules[main.__module__].__doc__
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] in ("kmax_tf", "data", "trainer"):
            for flag in defined:
                flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def exit_code(main: Main, arguments: list[str], *, interrupted: str) -> int | None:
    """Runs `main`, prints errors and returns the exit code; `arguments` are the command-line arguments that are not flags."""
    signal.signal(signal.SIGTERM, _terminate)
    if "verbosity" in flags.FLAGS and not flags.FLAGS["verbosity"].present:
        # TensorFlow and Orbit log what users of a healthy command do not need.
        logging.set_verbosity(logging.WARNING)
        silence_native_log()
    if arguments:
        return _fail(f"unexpected arguments {' '.join(arguments)}: pass all inputs as flags (--name=value), and quote patterns")
    try:
        return main()
    except UserError as error:
        return _fail(str(error))
    except tf.errors.OpError as error:
        message = _file_message(error)
        if message is None:
            raise
        return _fail(message)
    except OSError as error:
        if error.errno is None:  # not from the operating system
            raise
        return _fail(f"{error.filename or _output_folder()}: {error.strerror}")
    except KeyboardInterrupt as error:
        print(interrupted, file=sys.stderr, flush=True)
        return 128 + (signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT)


def silence_native_log() -> None:
    """Limits what TensorFlow's C++ code logs through Abseil to errors, which TF_CPP_MIN_LOG_LEVEL does not."""
    # Python has no function for it, and the names of C++ contain the version of Abseil: with others, messages stay.
    error = 2  # absl::LogSeverity::kError
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(os.path.join(tf.sysconfig.get_lib(), "libtensorflow_cc.so.2"))
        library._ZN4absl12lts_2025012714SetMinLogLevelENS0_18LogSeverityAtLeastE(error)


def _terminate(*_: object) -> None:
    raise Terminated


def _file_message(error: tf.errors.OpError) -> str | None:
    """`path: reason` if TensorFlow could not read or write a file (its own messages are `path; reason`), otherwise None."""
    reasons = set(map(os.strerror, errno.errorcode))
    found = (_FILE_ERROR.fullmatch(line.strip()) for line in (error.message or "").splitlines())
    return next((f"{one['path']}: {one['reason']}" for one in found if one and one["reason"] in reasons), None)


def _output_folder() -> str:
    """The output folder, for errors of the operating system that do not name their file."""
    for name in ("output_dir", "model_dir"):
        if name in flags.FLAGS and flags.FLAGS[name].value:
            return f"--{name}={flags.FLAGS[name].value}"
    return "input or output"


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 1
