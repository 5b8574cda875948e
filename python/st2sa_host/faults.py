"""Why something of a pack cannot go on: the error, where in the pack, and what to do about it."""

import errno
import os
import re
import sys
import traceback

from st2sa_host import missing
from st2sa_host.channel import CallError
from st2sa_host.places import chain, frames, is_in

ERROR_CHARACTERS_AT_MOST = 4096
TRACEBACK_CHARACTERS_AT_MOST = 64 * 1024

_LEVELS_TO_PACK_AT_MOST = 8
_HOST = os.path.dirname(os.path.realpath(__file__))


class Refused(Exception):
    """The host's own refusal of what a pack brings."""

    def __init__(self, message, hint, file=None, line=None):
        super().__init__(message)
        self.hint = hint
        self.file = file
        self.line = line


def explained(phase, error, sensor):
    """The `failed` event for an error of a sensor (its description from the container)."""
    entry_point = sensor.get("entry_point") or ""
    root = pack_root(entry_point)
    file, line = _place(error, root, entry_point)
    return {
        "event": "failed",
        "phase": phase,
        "error": headline(error),
        "file": file,
        "line": line,
        "hint": error.hint if isinstance(error, Refused) else _hint(phase, error, root, sensor),
        "traceback": "" if isinstance(error, Refused) else trace(error),
    }


def headline(error):
    """An error in one line: its type and what it says."""
    if isinstance(error, Refused):
        return str(error)[:ERROR_CHARACTERS_AT_MOST]
    try:
        text = str(error)
    except Exception:
        text = "(its message cannot be shown)"
    if isinstance(error, SyntaxError):
        text = str(error.msg)
    name = type(error).__name__
    return (f"{name}: {text}" if text else name)[:ERROR_CHARACTERS_AT_MOST]


def trace(error):
    """An error's traceback without the host's own frames, its end if it is long."""
    try:
        text = "".join(traceback.format_exception(type(error), error, _without_host(error.__traceback__)))
    except Exception:
        text = headline(error)
    return text[-TRACEBACK_CHARACTERS_AT_MOST:]


def pack_root(entry_point):
    """The folder of the pack that a file belongs to; the file's own folder if that cannot be seen."""
    start = folder = os.path.dirname(os.path.realpath(entry_point))
    for _ in range(_LEVELS_TO_PACK_AT_MOST):
        if os.path.isfile(os.path.join(folder, "pack.yaml")):
            return folder
        folder = os.path.dirname(folder)
    return start


def class_line(file, name):
    """Where a file begins a class, if it can be seen."""
    pattern = re.compile(rf"\s*class\s+{re.escape(name)}\b")
    try:
        with open(file, encoding="utf-8", errors="replace") as source:
            return next((number for number, line in enumerate(source, 1) if pattern.match(line)), None)
    except OSError:
        return None


def _place(error, root, entry_point):
    """File and line in the pack where it went wrong: the innermost frame of the pack, of the first error with one."""
    if isinstance(error, Refused):
        return error.file or entry_point, error.line
    for each in chain(error):
        if isinstance(each, SyntaxError) and is_in(each.filename, root):
            return each.filename, each.lineno
        for file, line in frames(each):
            if is_in(file, root):
                return file, line
    return entry_point, None


def _without_host(passed):
    while passed is not None:
        file = passed.tb_frame.f_code.co_filename
        if not (file.startswith("<frozen importlib") or os.path.dirname(os.path.realpath(file)) == _HOST):
            break
        passed = passed.tb_next
    return passed


def _hint(phase, error, root, sensor):
    if isinstance(error, ModuleNotFoundError):
        return missing.module(error, root, sensor)
    if isinstance(error, ImportError):
        return missing.name(error, root)
    if isinstance(error, SyntaxError):
        return _syntax(error)
    if isinstance(error, SystemExit):
        return "a sensor must not call exit(): let it raise an exception, or wait and try again"
    if phase == "load" and any(isinstance(each, CallError) and each.op in _ACTS for each in chain(error)):
        return (
            "a copy of the sensor on standby may read the datastore, but neither dispatch nor store: do it in setup(), "
            "which runs when this copy becomes the active one, and not in __init__ or at import"
        )
    if isinstance(error, FileNotFoundError) and error.filename == sensor.get("entry_point"):
        return "entry_point in the sensor's metadata must name a file relative to the metadata's folder"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "something else on this machine listens on that port: stop it, or configure another port"
    if isinstance(error, AttributeError):
        lacking = missing.attribute(error, root)
        if lacking:
            return lacking
    if phase != "run" and not sensor.get("config") and isinstance(error, (KeyError, AttributeError, TypeError)):
        return (
            f"the pack has no configuration: if the sensor needs one, write configs/{sensor.get('pack')}.yaml "
            "(packs often bring an example of it)"
        )
    return None


def _syntax(error):
    if isinstance(error, TabError):
        return "tabs and spaces are mixed in the indentation: Python 3 wants one of them"
    line = error.text or ""
    message = str(error.msg)
    if any(word in message for word in _PYTHON_2_MESSAGES) or _PYTHON_2_LINE.search(line):
        return "this is Python 2 code, which StackStorm no longer runs either: port it to Python 3"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return f"it is not valid in Python {version}: correct it, or use the Python that it was written for"


_ACTS = ("dispatch", "set", "delete")
"""Calls that are an active sensor's alone."""

_PYTHON_2_MESSAGES = (
    "Missing parentheses in call to",
    "multiple exception types must be parenthesized",
    "leading zeros in decimal integer literals",
    "invalid hexadecimal literal",
)
_PYTHON_2_LINE = re.compile(
    r"^\s*except\s+[\w.()\s,]+,\s*\w+\s*:|^\s*print\s+[^(=\s]|^\s*raise\s+\w+\s*,|^\s*exec\s+['\"\w]|<>|\bur['\"]|\b0\d+\b|`"
)
