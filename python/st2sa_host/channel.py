"""The connection to the container: lines of JSON, calls and their replies.

Two threads own it, started before anything of a pack is imported: one reads, one writes. They use only what was
saved here at import, so that neither monkey patching nor a signal handler that raises in the main thread can break a
line in two or keep a reply from its caller.
"""

import itertools
import os
from _socket import AF_UNIX, SOCK_STREAM
from _socket import socket as _socket
from _thread import allocate_lock, get_ident, start_new_thread
from collections import deque
from json import JSONEncoder
from json import loads as _loads
from os import _exit, environ, getpid
from os import close as _close
from os import read as _read
from os import write as _write

from st2sa_host import PROTOCOL, waiting
from st2sa_host.waiting import Waker

LINE_BYTES_AT_MOST = 16 * 1024 * 1024
"""The protocol's bound for a line, both ways."""

EXIT_DISCONNECTED = 70
"""How a process ends whose container is gone."""

LOGS_WAITING_AT_MOST = 256
"""Lines waiting to be written above which log records are dropped: at 16 KiB a record some 4 MiB."""

_READ_BYTES = 256 * 1024
_ENCODER = JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False)


class CallError(RuntimeError):
    """The container refused a call."""

    op = None
    """What was called. No argument, so that processes can hand the error to each other."""


class Channel:
    """A sensor process's control connection."""

    def __init__(self):
        self._opening = allocate_lock()
        self._reset()
        os.register_at_fork(after_in_child=self._start_over)

    def open(self):
        """Connects and starts the two threads."""
        with self._opening:
            if self._fd is None:
                self._fd = connect("control", "sensor")
                start_new_thread(self._read_all, (self._fd,))
                start_new_thread(self._write_all, (self._fd,))

    def next_order(self):
        """Waits for what the container says next. For one thread or greenlet at a time."""
        while True:
            try:
                return self._orders.popleft()
            except IndexError:
                self._ordered.wait()

    def say(self, event):
        """Tells the container. Does not wait for it."""
        self._put(encoded(event))

    def log(self, level, logger, message):
        """Tells the container of a log record, unless too many wait already."""
        if len(self._outgoing) < LOGS_WAITING_AT_MOST:
            self.say(_log_event(level, logger, message))
        else:
            self._dropped += 1  # threads that collide here lose a count, which is for people

    def call(self, op, **arguments):
        """Asks the container and waits for its answer, in any thread and greenlet."""
        number = next(self._numbers)
        beside = {} if get_ident() == self._polls else {"beside": True}
        line = encoded({"call": number, "op": op, **beside, **arguments})
        if len(line) > LINE_BYTES_AT_MOST:
            raise ValueError(f"{op} of {len(line)} bytes: at most {LINE_BYTES_AT_MOST} bytes are allowed")
        waiting_call = _Call(op)
        self._calls[number] = waiting_call
        try:
            self._put(line)
            return waiting_call.result()
        finally:
            self._calls.pop(number, None)

    def flush(self, seconds):
        """Waits until everything said is with the operating system, at most that long."""
        written = allocate_lock()
        written.acquire()
        self._put(written)
        written.acquire(True, seconds)

    def _put(self, line):
        if self._fd is None:
            self._open_or_end()
        self._outgoing.append(line)
        _wake(self._writable)

    def _open_or_end(self):
        try:
            self.open()
        except OSError:
            _exit(EXIT_DISCONNECTED)

    def _read_all(self, fd):
        try:
            for message in messages(fd):
                self._take(message)
        except BaseException as error:
            _complain(error)
        finally:
            _exit(EXIT_DISCONNECTED)

    def _take(self, message):
        if "reply" in message:
            waiting_call = self._calls.get(message["reply"])
            if waiting_call is not None:
                waiting_call.answer(message)
        elif self._leads:
            self._orders.append(message)
            self._ordered.wake()

    def _write_all(self, fd):
        outgoing, writable = self._outgoing, self._writable
        reported = 0
        try:
            while True:
                writable.acquire()
                while outgoing:
                    line = outgoing.popleft()
                    if isinstance(line, bytes):
                        write_whole(fd, line)
                    else:
                        line.release()
                dropped = self._dropped
                if dropped > reported:
                    text = f"{dropped - reported} log records were dropped: the container did not keep up"
                    write_whole(fd, encoded(_log_event("WARNING", "st2sa_host", text)))
                    reported = dropped
        except BaseException as error:
            _complain(error)
        finally:
            _exit(EXIT_DISCONNECTED)

    def _reset(self, leads=True):
        self._fd = None
        self._leads = leads
        self._numbers = itertools.count(1)
        self._dropped = 0
        # The thread that polls is the one that made this; of a process that the sensor forked none does.
        self._polls = get_ident() if leads else None
        self._calls = {}
        self._outgoing = deque()
        self._writable = allocate_lock()
        self._writable.acquire()
        self._orders = deque()
        self._ordered = Waker()

    def _start_over(self):
        """In a process that the sensor forked, which has neither the threads nor a right to the connection.

        Its first word opens one of its own, with the token that it inherited; orders stay its parent's.
        """
        waiting.forget_pipes()
        if self._fd is not None:
            _close(self._fd)
        self._opening = allocate_lock()
        self._reset(leads=False)


def connect(channel, role):
    """Opens a connection to the container and says which it is; gives its descriptor."""
    connection = _socket(AF_UNIX, SOCK_STREAM)
    connection.connect(environ["ST2SA_SOCKET"])
    fd = connection.detach()
    hello = {
        "token": environ["ST2SA_TOKEN"],
        "channel": channel,
        "role": role,
        "pid": getpid(),
        "protocol": PROTOCOL,
    }
    write_whole(fd, encoded({"hello": hello}))
    return fd


def messages(fd):
    """The objects that arrive there, until the connection ends."""
    lines = Lines()
    while True:
        try:
            data = _read(fd, _READ_BYTES)
        except ConnectionError:
            return
        if not data:
            return
        yield from lines.feed(data)


class Lines:
    """Cuts what arrives into lines and those into objects."""

    def __init__(self):
        self._partial = bytearray()

    def feed(self, data):
        """Gives the objects that are complete with this data."""
        start = len(self._partial)
        self._partial += data
        if data.find(b"\n") < 0:
            if len(self._partial) > LINE_BYTES_AT_MOST:
                raise ValueError(f"a line of over {LINE_BYTES_AT_MOST} bytes from the container")
            return []
        end = self._partial.rindex(b"\n", start) + 1
        whole, self._partial = self._partial[:end], self._partial[end:]
        objects = [_loads(line.decode("utf-8")) for line in whole.split(b"\n") if line.strip()]
        return [message for message in objects if isinstance(message, dict)]


def encoded(message):
    """A message as its line. What UTF-8 cannot hold (lone surrogates) becomes a question mark."""
    return _ENCODER.encode(message).encode("utf-8", "replace") + b"\n"


def write_whole(fd, data):
    """Writes all of it, however long the other end takes."""
    view = memoryview(data)
    while view:
        view = view[_write(fd, view) :]


def _log_event(level, logger, message):
    return {"event": "log", "level": level, "logger": logger, "message": message}


class _Call:
    """A call whose answer is still to come."""

    def __init__(self, op):
        self._op = op
        self._answered = Waker()
        self._answer = None

    def answer(self, message):
        self._answer = message
        self._answered.wake()

    def result(self):
        while self._answer is None:
            self._answered.wait()
        error = self._answer.get("error")
        if error:
            raise _exception(self._op, error)
        return self._answer.get("result")


def _exception(op, error):
    message = str(error.get("message", "the container refused it"))
    kind = {"ValueError": ValueError, "TypeError": TypeError}.get(error.get("type"))
    if kind:
        return kind(message)
    refusal = CallError(message)
    refusal.op = op
    return refusal


def _wake(lock):
    try:
        lock.release()
    except RuntimeError:
        pass  # woken already


def _complain(error):
    if not isinstance(error, ConnectionError):
        text = f"st2sa_host: the connection to the container ends: {type(error).__name__}: {error}\n"
        try:
            _write(2, text.encode("utf-8", "replace"))
        except OSError:
            pass
