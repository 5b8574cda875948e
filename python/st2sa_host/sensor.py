"""The life of one sensor process: load, stand by, activate, poll or run, stop."""

import faulthandler
import logging
import math
import os
import sys
import threading
from os import _exit

from st2sa_host import crash, orphans, provided, waiting
from st2sa_host.channel import EXIT_DISCONNECTED, Channel, connect
from st2sa_host.cursor import keeps_cursor
from st2sa_host.faults import explained, headline, trace
from st2sa_host.loader import POLLING, load
from st2sa_host.service import SensorService

EXIT_FAILED = 1

FLUSH_SECONDS = 2.0
"""How long a process that ends waits for the container to read its last words."""

LOG_CHARACTERS_AT_MOST = 16 * 1024

DEFAULT_POLL_SECONDS = 5.0
"""StackStorm's, for a sensor whose object has no interval that can be used."""

_TRIGGER_ORDERS = ("add_trigger", "update_trigger", "remove_trigger")
_log = logging.getLogger("st2sa_host")


def main():
    """Lives as the sensor process that the environment describes. Does not return."""
    channel = Channel()
    try:
        _connect_outputs()
        # Before anything of the pack: what it does to this interpreter must not reach these threads.
        channel.open()
        orphans.start()
    except OSError as error:
        sys.stderr.write(f"st2sa_host: cannot reach the container at {os.environ.get('ST2SA_SOCKET')}: {error}\n")
        sys.stderr.flush()
        _exit(EXIT_DISCONNECTED)
    faulthandler.enable(2)
    logging.root.handlers = [_ToContainer(channel)]
    logging.root.setLevel(logging.INFO)
    provided.install()
    _Life(channel).live()


class _Life:
    def __init__(self, channel):
        self._channel = channel
        self._description = {}
        self._phase = "load"
        self._sensor = None
        self._kind = None
        self._stopping = False
        self._interval_warned = False

    def live(self):
        try:
            while True:
                self._obey(self._channel.next_order())
        except BaseException as error:
            self._fail(error)

    def _obey(self, order):
        op = order.get("op")
        if op == "load" and self._sensor is None:
            self._load(order["sensor"])
        elif op == "activate" and self._phase == "load":
            self._activate(order.get("triggers") or [])
        elif op == "poll" and self._phase == "run" and self._kind == POLLING:
            self._poll(order.get("number"))
        elif op in _TRIGGER_ORDERS and self._phase == "run":
            self._tell(op, order.get("trigger"))
        elif op == "stop":
            self._stop()

    def _load(self, description):
        self._description = description
        service = SensorService(self._channel, description["pack"], description["class_name"])
        self._sensor, self._kind = load(description, service)
        self._channel.say(
            {
                "event": "ready",
                "kind": self._kind,
                "poll_interval": self._interval(),
                "keeps_cursor": self._kind == POLLING and keeps_cursor(self._sensor),
            }
        )

    def _activate(self, triggers):
        self._phase = "setup"
        self._sensor.setup()
        self._phase = "run"
        if self._kind == POLLING:
            for trigger in triggers:
                self._tell("add_trigger", trigger)
            self._channel.say({"event": "activated", "poll_interval": self._interval()})
            return
        self._channel.say({"event": "activated", "poll_interval": None})
        self._beside_run(triggers)
        self._run()

    def _run(self):
        """The main thread of a passive sensor, for good: orders have gone to the other one."""
        self._unless_stopping(self._sensor.run)
        if self._stopping:
            _log.info("run() has ended; cleanup() goes on")
        else:
            self._channel.say({"event": "run_returned"})
        # What the sensor started may go on, and its cleanup() has to.
        forever = waiting.Waker()
        while True:
            self._unless_stopping(forever.wait)

    def _unless_stopping(self, work):
        """Does that. What it raises (in the wait: exit() of a greenlet) is a death, but no reason to stop stopping."""
        try:
            work()
        except BaseException as error:
            if not self._stopping:
                raise
            _log.warning("raised while the sensor stops: %s\n%s", headline(error), trace(error))

    def _beside_run(self, triggers):
        """From here on somebody else takes the orders, since `run` keeps the main thread."""

        def serve():
            try:
                for trigger in triggers:
                    self._tell("add_trigger", trigger)
                while True:
                    self._obey(self._channel.next_order())
            except BaseException as error:
                self._fail(error)

        if _threads_are_green():
            # As in StackStorm; and green locks that the sensor's methods share work within one thread only.
            sys.modules["eventlet"].spawn(serve)
        else:
            threading.Thread(target=serve, name="st2sa-triggers", daemon=True).start()

    def _poll(self, number):
        answer = {"event": "poll_returned", "number": number, "ok": True}
        crash.point("sensor-poll-asked")
        try:
            self._sensor.poll()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # eventlet's Timeout is no Exception
            answer.update(ok=False, error=headline(error), traceback=trace(error))
        answer["poll_interval"] = self._interval()
        crash.point("sensor-poll-returned")
        self._channel.say(answer)

    def _tell(self, method, trigger):
        try:
            getattr(self._sensor, method)(trigger=trigger)
        except Exception as error:
            _log.warning("%s failed, the sensor goes on: %s\n%s", method, headline(error), trace(error))

    def _stop(self):
        self._stopping = True
        if self._phase != "load":
            try:
                self._sensor.cleanup()
            except BaseException as error:
                _log.warning("cleanup failed: %s\n%s", headline(error), trace(error))
        self._end(0)

    def _fail(self, error):
        self._channel.say(explained(self._phase, error, self._description))
        self._end(EXIT_FAILED)

    def _end(self, code):
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass  # the pack may have put anything there
        self._channel.flush(FLUSH_SECONDS)
        _exit(code)

    def _interval(self):
        """Seconds between polls; read anew each time, since sensors set it in `setup` and later."""
        if self._kind != POLLING:
            return None
        own = getattr(self._sensor, "_poll_interval", self._description.get("poll_interval"))
        for value in (own, self._description.get("poll_interval")):
            try:
                seconds = float(value)
            except (TypeError, ValueError):
                continue
            if math.isfinite(seconds) and seconds >= 0:
                return seconds
        if not self._interval_warned:
            self._interval_warned = True
            _log.warning("the poll interval %r is no number of seconds: %s are used", own, DEFAULT_POLL_SECONDS)
        return DEFAULT_POLL_SECONDS


class _ToContainer(logging.Handler):
    """Log records as events. Has no lock, so that no thread, fork or patching can block it."""

    def __init__(self, channel):
        super().__init__()
        self._channel = channel

    def createLock(self):
        self.lock = None

    def handle(self, record):
        if self.filter(record):
            self.emit(record)
        return True

    def emit(self, record):
        self._channel.log(str(record.levelname), str(record.name), _text(record)[:LOG_CHARACTERS_AT_MOST])


def _text(record):
    try:
        text = record.getMessage()
    except Exception:
        text = f"{record.msg!s:.1000} (with arguments that do not fit it)"
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        text += "\n" + trace(error).rstrip()
    if record.stack_info:
        text += "\n" + str(record.stack_info)
    return text


def _connect_outputs():
    """Puts the output channels onto 1 and 2, unless this is a second Python that inherited them."""
    if os.environ.get("ST2SA_OUTPUT") != "connected":
        for target, channel in ((1, "stdout"), (2, "stderr")):
            fd = connect(channel, "sensor")
            os.dup2(fd, target, inheritable=True)
            os.close(fd)
        os.environ["ST2SA_OUTPUT"] = "connected"
    # Fresh ones: those of the start may be of a file, which knows positions that a socket has not.
    sys.stdout = sys.__stdout__ = _line_by_line(1)
    sys.stderr = sys.__stderr__ = _line_by_line(2)


def _line_by_line(fd):
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _threads_are_green():
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and patcher.is_monkey_patched("thread")
