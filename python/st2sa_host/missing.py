"""What to do where a module, or a name in one, is missing: in the pack, in its virtualenv, or in this Python."""

import os
import re
import sys
from importlib import util

from st2sa_host.places import frames, is_in, is_pythons_own, library

FILES_SEARCHED_AT_MOST = 5000
"""Files of a pack looked at for a module that could not be imported."""

REQUIREMENTS_BYTES_AT_MOST = 64 * 1024
"""More than any pack's list of requirements has."""

NAMED_AT_MOST = 5
"""Requirements that a hint names: it is one line."""


def module(error, root, sensor):
    """For a module that is not found."""
    wanted = error.name or ""
    top = wanted.split(".")[0]
    if top in ("st2common", "st2reactor"):
        return _NEEDS_STACKSTORM
    if top in _PYTHON_2_MODULES:
        return f"this is Python 2 code: in Python 3 it is {_PYTHON_2_MODULES[top]}"
    if top in _REMOVED_MODULES:
        since, instead = _REMOVED_MODULES[top]
        return f"Python {since} removed {top} and this is {_PYTHON}: use an older Python, or {instead}"
    inside = _find_in_pack(wanted, root)
    if inside:
        return (
            f"the pack has it as {inside}, which is not on a sensor's path (nor in StackStorm): move it beside the "
            "sensor, or into the pack's lib folder with enable_common_libs"
        )
    requirements = _Requirements(root)
    if wanted != top:
        lacking = _lacking_part(wanted, top, root, requirements)
        if lacking:
            return lacking
    if top in getattr(sys, "stdlib_module_names", ()):
        return f"{top} belongs to Python, and is lacking in this {_PYTHON}: use a complete one"
    hint = requirements.hint(wanted, top)
    if sensor.get("virtualenv"):
        return hint
    return f"{hint}; the pack has no virtualenv of its own: `st2 pack install` makes one"


def name(error, root):
    """For a name that a module has not."""
    wanted = error.name or ""
    top = wanted.split(".")[0]
    if top in ("st2common", "st2reactor"):
        return _NEEDS_STACKSTORM
    if not top:
        return None
    if is_in(error.path, root):
        return f"the pack's own {os.path.relpath(os.path.realpath(error.path), root)} has no such name"
    return _other_version(error, wanted, root)


def attribute(error, root):
    """For an attribute that a module has not; None where it is one of something else."""
    matched = _NO_ATTRIBUTE.match(str(error))
    loaded = sys.modules.get(matched.group(1)) if matched else None
    if loaded is None or is_in(getattr(loaded, "__file__", None), root):
        return None
    return _other_version(error, matched.group(1), root)


def _other_version(error, wanted, root):
    """What to do where an installed module is there, and not as it is wanted."""
    if is_pythons_own(_origin(wanted) or ""):
        importer = next((library(file) for file, _ in frames(error) if not file.startswith("<")), None)
        if importer:
            return (
                f"the installed {importer} needs a name that {_PYTHON} no longer has: pin a newer version of it in "
                "requirements.txt, or use an older Python"
            )
        return f"the sensor needs a name that {_PYTHON} no longer has: correct the code, or use an older Python"
    package = _Requirements(root).bringing(wanted.split(".")[0])
    return f"the installed {package} is another version than the pack needs: pin the right one in requirements.txt"


def _lacking_part(wanted, top, root, requirements):
    """What to do where only a part of a package is missing; None where all of it is."""
    try:
        spec = util.find_spec(top)
    except Exception:
        spec = None
    if spec is None:
        return None
    if spec.origin is None:
        return (
            f"several distributions share {top}: list the one that brings {wanted} in requirements.txt and install it"
        )
    if is_in(spec.origin, root):
        own = os.path.relpath(os.path.realpath(spec.origin), root)
        return f"the pack's own {own} is what it finds as {top}: rename that if another {top} is meant, or correct it"
    if is_pythons_own(spec.origin):
        return f"{_PYTHON} has no {wanted}: the code is for another Python"
    return _lacks(requirements.bringing(top), wanted)


def _lacks(package, wanted):
    version = _version(package)
    installed = f"{package} {version}" if version else package
    return (
        f"the installed {installed} has no {wanted}: pin a version that has it in requirements.txt, or change the code"
    )


def _origin(wanted):
    try:
        return util.find_spec(wanted).origin
    except Exception:
        return None


class _Requirements:
    """What the pack's requirements.txt lists."""

    def __init__(self, root):
        self.file = os.path.join(root, "requirements.txt")
        self.listed = []
        self.conditional = set()
        try:
            with open(self.file, encoding="utf-8", errors="replace") as file:
                lines = file.read(REQUIREMENTS_BYTES_AT_MOST).splitlines()
        except OSError:
            self.file = None
            return
        for line in lines:
            matched = _EGG.search(line) or _REQUIREMENT.match(line)
            if matched:
                self.listed.append(matched.group(1))
                if ";" in line:
                    self.conditional.add(matched.group(1))

    def bringing(self, top):
        """The distribution that plausibly brings a module: the one that is listed, else the usual one."""
        return self._listed_for(top) or _DISTRIBUTIONS.get(top, top)

    def hint(self, wanted, top):
        """How a module comes to be there that is not."""
        listed = self._listed_for(top)
        if listed and _version(listed):
            return _lacks(listed, wanted)
        install = f"`{sys.executable} -m pip install -r {self.file}`"
        if listed:
            return f'"{listed}" is listed in requirements.txt, but not installed: {install}'
        lacking = [each for each in self.listed if each not in self.conditional and not _version(each)]
        if lacking:
            named = ", ".join(lacking[:NAMED_AT_MOST]) + (", …" if len(lacking) > NAMED_AT_MOST else "")
            return f"listed in requirements.txt, but not installed: {named}; one of them may bring it: {install}"
        usual = _DISTRIBUTIONS.get(top)
        if usual:
            return f'list "{usual}" in its requirements.txt and run `{sys.executable} -m pip install {usual}`'
        return (
            f"list the distribution that brings {top} (its name may be another) in its requirements.txt, and install "
            f"it with `{sys.executable} -m pip install`"
        )

    def _listed_for(self, top):
        """What is listed and plausibly brings a module: of its usual name, or of one made from the module's."""
        usual = _normalised(_DISTRIBUTIONS.get(top, top))
        plain = _plain(top)
        for each in self.listed:
            if _normalised(each) == usual:
                return each
        for each in self.listed:
            if _plain(each) == plain or plain in map(_plain, _normalised(each).split("-")):
                return each
        return None


def _normalised(distribution):
    """As PyPI compares names."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _plain(name):
    """A name without what is often put around one: py-trello brings trello."""
    joined = re.sub(r"[-_.]+", "", name).lower()
    return re.sub(r"^(python|py)", "", joined) or joined


def _version(distribution):
    """The version that is installed, if any is."""
    # Not imported earlier: it imports half of Python, which a sensor may want to patch first.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except Exception:
        return None


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


_PYTHON = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
_NEEDS_STACKSTORM = (
    "st2sa provides st2reactor.sensor.base and st2common.util.date, isotime and shell; more of StackStorm is there "
    "where StackStorm itself is installed (st2 below base_path), for this version of Python"
)
_NO_ATTRIBUTE = re.compile(r"(?:partially initialized )?module '([\w.]+)' has no attribute")
_EGG = re.compile(r"^[^#\s].*#egg=([\w.-]+)")
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;@(#]|$)")
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
    "eventlet": "eventlet",
    "flask": "Flask",
    "git": "GitPython",
    "github": "PyGithub",
    "http_parser": "http-parser",
    "jinja2": "Jinja2",
    "jwt": "PyJWT",
    "kafka": "kafka-python",
    "keystoneclient": "python-keystoneclient",
    "ldap": "python-ldap",
    "paho": "paho-mqtt",
    "pika": "pika",
    "psycopg2": "psycopg2-binary",
    "pyVim": "pyvmomi",
    "pyVmomi": "pyvmomi",
    "pytz": "pytz",
    "requests": "requests",
    "serial": "pyserial",
    "signalr": "signalr-client",
    "six": "six",
    "telegram": "python-telegram-bot",
    "yaml": "PyYAML",
    "zaqarclient": "python-zaqarclient",
    "zmq": "pyzmq",
}
"""The packages on PyPI of modules that sensors import: those that have another name, and those that StackStorm itself
has, so that packs do not list them."""
