"""Where things are: in the pack, in Python itself, or in what was installed."""

import os
import traceback


def chain(error):
    """An error and those that it came from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def frames(error):
    """The files and lines that an error has passed, the innermost first."""
    passed = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    return reversed(passed)


def is_in(file, root):
    """Whether a file is the pack's own."""
    if not file:
        return False
    real = os.path.realpath(file)
    return real.startswith(root + os.sep) and "site-packages" not in real.split(os.sep)


def is_pythons_own(origin):
    """Whether a module comes with Python."""
    if origin in ("built-in", "frozen"):
        return True
    real = os.path.realpath(origin)
    return real.startswith(_STANDARD_LIBRARY) and not _INSTALLED.intersection(real.split(os.sep))


def library(file):
    """The installed package that a file is of, if it is of one."""
    steps = os.path.realpath(file).split(os.sep)
    for number, step in enumerate(steps[:-1]):
        if step in _INSTALLED:
            return os.path.splitext(steps[number + 1])[0]
    return None


_INSTALLED = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
