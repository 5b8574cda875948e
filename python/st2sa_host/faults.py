"""Why something of a pack cannot go on: the error, where in the pack, and what to do about it."""

import errno
import os
import re
import sys
import traceback
from importlib import util

from st2sa_host.channel import CallError

ERROR_CHARACTERS_AT_MOST = 4096
TRACEBACK_CHARACTERS_AT_MOST = 64 * 1024

FILES_SEARCHED_AT_MOST = 5000
"""Files of a pack looked at for a module that could not be imported."""

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
    for each in _chain(error):
        if isinstance(each, SyntaxError) and _is_in(each.filename, root):
            return each.filename, each.lineno
        frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(each.__traceback__)]
        for file, line in reversed(frames):
            if _is_in(file, root):
                return file, line
    return entry_point, None


def _chain(error):
    """An error and those that it came from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_in(file, root):
    if not file:
        return False
    real = os.path.realpath(file)
    return real.startswith(root + os.sep) and "site-packages" not in real.split(os.sep)


def _without_host(frames):
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if not (file.startswith("<frozen importlib") or os.path.dirname(os.path.realpath(file)) == _HOST):
            break
        frames = frames.tb_next
    return frames


def _hint(phase, error, root, sensor):
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(error, root)
    if isinstance(error, ImportError):
        return _missing_name(error)
    if isinstance(error, SyntaxError):
        return _syntax(error)
    if isinstance(error, SystemExit):
        return "a sensor must not call exit(): let it raise an exception, or wait and try again"
    if phase == "load" and any(isinstance(each, CallError) and each.op in _ACTS for each in _chain(error)):
        return (
            "a copy of the sensor on standby may read the datastore, but neither dispatch nor store: do it in setup(), "
            "which runs when this copy becomes the active one, and not in __init__ or at import"
        )
    if isinstance(error, FileNotFoundError) and error.filename == sensor.get("entry_point"):
        return "entry_point in the sensor's metadata must name a file relative to the metadata's folder"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "something else on this machine listens on that port: stop it, or configure another port"
    if phase != "run" and not sensor.get("config") and isinstance(error, (KeyError, AttributeError, TypeError)):
        return (
            f"the pack has no configuration: if the sensor needs one, write configs/{sensor.get('pack')}.yaml "
            "(packs often bring an example of it)"
        )
    return None


def _missing_module(error, root):
    name = error.name or ""
    top = name.split(".")[0]
    if top in ("st2common", "st2reactor"):
        return _NEEDS_STACKSTORM
    if top in _PYTHON_2_MODULES:
        return f"this is Python 2 code: in Python 3 it is {_PYTHON_2_MODULES[top]}"
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if top in _REMOVED_MODULES:
        since, instead = _REMOVED_MODULES[top]
        return f"Python {since} removed {top} and this is Python {version}: use an older Python, or {instead}"
    inside = _find_in_pack(name, root)
    if inside:
        return (
            f"the pack has it as {inside}, which is not on a sensor's path (nor in StackStorm): move it beside the "
            "sensor, or into the pack's lib folder with enable_common_libs"
        )
    package = _DISTRIBUTIONS.get(top, top)
    if name != top:
        lacking = _lacking_part(name, top, package, root)
        if lacking:
            return lacking
    install = f'list "{package}" in its requirements.txt and run `{sys.executable} -m pip install {package}`'
    if sys.prefix == sys.base_prefix:
        return f"the pack has no virtualenv of its own; make one (`st2 pack install` does) or {install}"
    return f"install it in the pack's virtualenv: {install}"


def _lacking_part(name, top, package, root):
    """What to do where only a part of a package is missing; None where all of it is."""
    try:
        spec = util.find_spec(top)
    except Exception:
        spec = None
    if spec is None:
        return None
    if spec.origin is None:
        return f"several distributions share {top}: list the one that brings {name} in requirements.txt and install it"
    if _is_in(spec.origin, root):
        own = os.path.relpath(os.path.realpath(spec.origin), root)
        return f"the pack's own {own} is what it finds as {top}: rename that if another {top} is meant, or correct it"
    if _is_pythons_own(spec.origin):
        return f"Python {sys.version_info[0]}.{sys.version_info[1]} has no {name}: the code is for another Python"
    try:
        from importlib import metadata  # not earlier: it imports half of Python, which a sensor may want to patch first

        package += f" {metadata.version(package)}"
    except Exception:
        pass  # its distribution has a name that is not known here
    return f"the installed {package} has no {name}: pin a version that has it in requirements.txt, or change the code"


def _is_pythons_own(origin):
    if origin in ("built-in", "frozen"):
        return True
    real = os.path.realpath(origin)
    installed = {"site-packages", "dist-packages"}.intersection(real.split(os.sep))
    return real.startswith(_STANDARD_LIBRARY) and not installed


def _missing_name(error):
    top = (error.name or "").split(".")[0]
    if top in ("st2common", "st2reactor"):
        return _NEEDS_STACKSTORM
    if top:
        package = _DISTRIBUTIONS.get(top, top)
        return f"the installed {package} is another version than the pack needs: pin the right one in requirements.txt"
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


def _find_in_pack(name, root):
    """A module's file in the pack, relative to it."""
    steps = name.split(".")
    wanted = (os.path.join(*steps) + ".py", os.path.join(*steps, "__init__.py"))
    searched = 0
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "__pycache__")
        searched += len(files)
        if searched > FILES_SEARCHED_AT_MOST:
            return None
        for path in wanted:
            if os.path.isfile(os.path.join(folder, path)):
                return os.path.relpath(os.path.join(folder, path), root)
    return None


_ACTS = ("dispatch", "set", "delete")
"""Calls that are an active sensor's alone."""

_STANDARD_LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_NEEDS_STACKSTORM = (
    "st2sa provides st2reactor.sensor.base and st2common.util.date, isotime and shell; a sensor that needs more of "
    "StackStorm runs with `runtime: st2` in the policy"
)
_PYTHON_2_MESSAGES = (
    "Missing parentheses in call to",
    "multiple exception types must be parenthesized",
    "leading zeros in decimal integer literals",
    "invalid hexadecimal literal",
)
_PYTHON_2_LINE = re.compile(
    r"^\s*except\s+[\w.()\s,]+,\s*\w+\s*:|^\s*print\s+[^(=\s]|^\s*raise\s+\w+\s*,|^\s*exec\s+['\"\w]|<>|\bur['\"]|\b0\d+\b|`"
)
_PYTHON_2_MODULES = {
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
    "httplib": "http.client",
    "ConfigParser": "configparser",
    "Queue": "queue",
    "StringIO": "io.StringIO",
    "cStringIO": "io.StringIO",
    "cPickle": "pickle",
    "SocketServer": "socketserver",
    "BaseHTTPServer": "http.server",
    "HTMLParser": "html.parser",
    "Cookie": "http.cookies",
    "commands": "subprocess",
    "thread": "_thread",
    "__builtin__": "builtins",
}
_REMOVED_MODULES = {
    "smtpd": ("3.12", "pip install pyasyncore standard-smtpd"),
    "asyncore": ("3.12", "pip install pyasyncore"),
    "asynchat": ("3.12", "pip install pyasynchat"),
    "imp": ("3.12", "change the code to importlib"),
    "distutils": ("3.12", "pip install setuptools"),
    "telnetlib": ("3.13", "pip install standard-telnetlib"),
    "cgi": ("3.13", "pip install legacy-cgi"),
    "pipes": ("3.13", "change the code to shlex and subprocess"),
    "crypt": ("3.13", "pip install legacy-crypt"),
}
_DISTRIBUTIONS = {
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "dateutil": "python-dateutil",
    "dns": "dnspython",
    "git": "GitPython",
    "github": "PyGithub",
    "http_parser": "http-parser",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "keystoneclient": "python-keystoneclient",
    "ldap": "python-ldap",
    "paho": "paho-mqtt",
    "psycopg2": "psycopg2-binary",
    "pyVim": "pyvmomi",
    "pyVmomi": "pyvmomi",
    "serial": "pyserial",
    "signalr": "signalr-client",
    "telegram": "python-telegram-bot",
    "yaml": "PyYAML",
    "zaqarclient": "python-zaqarclient",
    "zmq": "pyzmq",
}
"""Modules whose package on PyPI has another name, of those that sensors import."""
