"""What sensors import of st2reactor and st2common, in a Python that has not got those.

A finder at the end of `sys.meta_path`: where StackStorm's own are there, they are found first. Where they are there and
cannot be imported, the finder comes first. Facts of behaviour are StackStorm's; it is not its code.
"""

import abc
import logging
import re
import shlex
import subprocess
import sys
from datetime import date as _date
from datetime import datetime, timedelta, timezone
from importlib import import_module, util
from importlib.machinery import ModuleSpec

from st2sa_host import waiting

_log = logging.getLogger("st2sa_host")


def install():
    """Makes the modules importable, after everything else that may bring them."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0 if _are_broken() else len(sys.meta_path), _Finder)


def _are_broken():
    """Whether StackStorm's own modules are there and cannot be imported; only a try shows that."""
    if util.find_spec("st2reactor") is None:
        return False
    try:
        import_module("st2reactor.sensor.base")
        return False
    except Exception as error:
        _log.warning("StackStorm's own modules cannot be imported, the host's are taken: %r", error)
    # What was imported before the error is of no use, and would be found first.
    for name in [name for name in sys.modules if name.split(".")[0] in ("st2reactor", "st2common")]:
        del sys.modules[name]
    return True


class _Base(abc.ABC):
    """What both kinds of sensor have."""

    def __init__(self, sensor_service, config=None):
        self._sensor_service = sensor_service
        self.sensor_service = sensor_service
        self._config = config or {}
        self.config = self._config

    @abc.abstractmethod
    def setup(self):
        """Runs once, before anything else."""

    @abc.abstractmethod
    def run(self):
        """Runs the sensor."""

    @abc.abstractmethod
    def cleanup(self):
        """Runs when the sensor ends."""

    @abc.abstractmethod
    def add_trigger(self, trigger):
        """Runs when a trigger of the sensor's types is there or was made."""

    @abc.abstractmethod
    def update_trigger(self, trigger):
        """Runs when a trigger was changed."""

    @abc.abstractmethod
    def remove_trigger(self, trigger):
        """Runs when a trigger was deleted."""


class Sensor(_Base):
    """A passive sensor: it runs and waits for what comes."""


class PollingSensor(_Base):
    """A sensor that looks for what is new at every interval."""

    def __init__(self, sensor_service, config=None, poll_interval=5):
        super().__init__(sensor_service=sensor_service, config=config)
        self._poll_interval = poll_interval

    @abc.abstractmethod
    def poll(self):
        """Looks once for what is new."""

    def run(self):
        """Polls for ever. A container that drives the polls itself does not call it; an overriding `run` may."""
        while True:
            self.poll()
            waiting.sleep(self._poll_interval)

    def get_poll_interval(self):
        """Seconds between polls."""
        return self._poll_interval

    def set_poll_interval(self, poll_interval):
        """Sets the seconds between polls."""
        self._poll_interval = poll_interval


ISO8601_FORMAT = "%Y-%m-%dT%H:%M:%S"
ISO8601_FORMAT_MICROSECOND = "%Y-%m-%dT%H:%M:%S.%f"
ISO8601_UTC_REGEX = r"^\d{4}\-\d{2}\-\d{2}(\s|T)\d{2}:\d{2}:\d{2}(\.\d{3,6})?(Z|\+00|\+0000|\+00:00)$"
_DATE_AND_TIME = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ](\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d{1,9}))?)?)?"
    r"\s*(Z|z|[+-]\d{2}(?::?\d{2})?)?)?"
)


def get_datetime_utc_now():
    """The time, aware of being UTC."""
    return datetime.now(timezone.utc)


def add_utc_tz(dt):
    """A time without a zone, as one in UTC."""
    if dt.tzinfo and dt.tzinfo.utcoffset(dt) != timedelta(0):
        raise ValueError("datetime already contains a non UTC timezone")
    return dt.replace(tzinfo=timezone.utc)


def convert_to_utc(dt):
    """A time in UTC; one without a zone is taken to be so."""
    return dt.astimezone(timezone.utc) if dt.tzinfo else add_utc_tz(dt)


def append_milliseconds_to_time(date, millis):
    """That many milliseconds later, in UTC."""
    return convert_to_utc(date + timedelta(milliseconds=millis))


def parse_date(value, preserve_original_tz=False):
    """A time from text, aware of its zone."""
    dt = _parsed(value if isinstance(value, (datetime, _date)) else str(value).strip())
    if not dt.tzinfo:
        dt = add_utc_tz(dt)
    return dt if preserve_original_tz else convert_to_utc(dt)


def _parsed(value):
    if isinstance(value, datetime):
        return value
    if isinstance(value, _date):
        return datetime(value.year, value.month, value.day)
    match = _DATE_AND_TIME.fullmatch(value)
    if match is None:
        return _parsed_by_dateutil(value)
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    microsecond = int(((fraction or "") + "000000")[:6])
    return datetime(
        int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), microsecond, _zone(zone)
    )


def _parsed_by_dateutil(value):
    try:
        from dateutil import parser
    except ImportError:
        raise ValueError(f"not a date in ISO 8601, and python-dateutil, which knows others, is not installed: {value}")
    return parser.parse(value)


def _zone(text):
    if text is None:
        return None
    if text in "Zz":
        return timezone.utc
    digits = text[1:].replace(":", "")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:] or 0))
    return timezone(-offset if text[0] == "-" else offset)


def format_iso(dt, usec=True, offset=True):
    """A time as ISO 8601 text."""
    if isinstance(dt, str):
        dt = parse_iso(dt)
    elif isinstance(dt, int):
        dt = datetime.fromtimestamp(dt, timezone.utc)
    if offset:
        zone = dt.strftime("%z")
        zone = f"{zone[:3]}:{zone[3:]}" if zone else "+00:00"
    else:
        zone = dt.tzinfo.tzname(dt) if dt.tzinfo else "UTC"
        zone = "Z" if zone == "UTC" else zone
    return dt.strftime(ISO8601_FORMAT_MICROSECOND if usec else ISO8601_FORMAT) + zone


def validate_iso(value, raise_exception=True):
    """Whether that is a time, or ISO 8601 text in UTC."""
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(ISO8601_UTC_REGEX, value)):
        return True
    if raise_exception:
        raise ValueError("Datetime value does not match expected format.")
    return False


def parse_iso(value, preserve_original_tz=False, validate_value=True):
    """A time from ISO 8601 text, aware of its zone."""
    if validate_value:
        validate_iso(value, raise_exception=True)
    return parse_date(value=value, preserve_original_tz=preserve_original_tz)


def run_command(
    cmd, stdin=None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, shell=False, cwd=None, env=None, close_fds=None
):
    """Runs a command; gives its exit code and what it wrote to both outputs."""
    if not isinstance(cmd, (list, tuple, str)):
        raise TypeError(f"Command must be a type of list, tuple, or string, not '{type(cmd)}'.")
    options = {} if close_fds is None else {"close_fds": close_fds}
    process = _subprocess().Popen(
        args=cmd, stdin=stdin, stdout=stdout, stderr=stderr, env=env or None, cwd=cwd, shell=shell, **options
    )
    output, errors = process.communicate()
    return process.returncode, (output or b"").decode(), (errors or b"").decode()


def quote_windows(value):
    """A value as one word of a Windows command line."""
    return subprocess.list2cmdline([value])


def _subprocess():
    if waiting.hub_runs_here():
        from eventlet.green import subprocess as green

        return green
    return subprocess


_SHELL = {"run_command": run_command, "quote_unix": shlex.quote, "quote_windows": quote_windows}
_DATE = {
    "get_datetime_utc_now": get_datetime_utc_now,
    "append_milliseconds_to_time": append_milliseconds_to_time,
    "add_utc_tz": add_utc_tz,
    "convert_to_utc": convert_to_utc,
    "parse": parse_date,
}
_ISOTIME = {
    "ISO8601_FORMAT": ISO8601_FORMAT,
    "ISO8601_FORMAT_MICROSECOND": ISO8601_FORMAT_MICROSECOND,
    "ISO8601_UTC_REGEX": ISO8601_UTC_REGEX,
    "format": format_iso,
    "validate": validate_iso,
    "parse": parse_iso,
}
MODULES = {
    "st2reactor": None,
    "st2reactor.sensor": None,
    "st2reactor.sensor.base": {"Sensor": Sensor, "PollingSensor": PollingSensor, "BaseSensor": _Base},
    "st2common": None,
    "st2common.util": None,
    "st2common.util.date": _DATE,
    "st2common.util.isotime": _ISOTIME,
    "st2common.util.shell": _SHELL,
}
"""What there is, by module: its names, or none for a package."""


class _Finder:
    """Finds the modules above, and none below a package that is StackStorm's own."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in MODULES:
            return None
        parent = name.rpartition(".")[0]
        if parent and getattr(sys.modules[parent].__spec__, "loader", None) is not cls:
            return None
        return ModuleSpec(name, cls, origin="st2sa_host", is_package=MODULES[name] is None)

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        names = MODULES[module.__name__] or {}
        module.__dict__.update(names, __all__=list(names))
