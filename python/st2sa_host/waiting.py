"""Waiting that lets eventlet's greenlets run, and that monkey patching cannot reach."""

import sys
import time
from _thread import allocate_lock
from os import pipe as _pipe
from os import read as _read
from os import set_blocking as _set_blocking
from os import write as _write


class Waker:
    """Puts one waiter at a time to sleep until some other thread wakes it.

    A wake-up without a waiter is kept for the next one; several count as one. A waiter may wake for nothing: it has
    to look whether what it waits for is there.
    """

    def __init__(self):
        self._signal = allocate_lock()
        self._signal.acquire()
        self._pipe = None

    def wake(self):
        """Wakes the waiter. Never blocks."""
        try:
            self._signal.release()
        except RuntimeError:
            pass  # woken already
        # A waiter in a hub publishes its pipe before it looks at the signal, so one of the two reaches it.
        pipe = self._pipe
        if pipe is not None:
            pipe.poke()

    def wait(self):
        """Sleeps until woken; other greenlets of this thread run meanwhile."""
        trampoline = _trampoline()
        if trampoline is None:
            self._signal.acquire()
        else:
            self._wait_in_hub(trampoline)

    def _wait_in_hub(self, trampoline):
        pipe = _Pipe.take()
        self._pipe = pipe
        try:
            while not self._signal.acquire(False):
                trampoline(pipe.reading, read=True)
                pipe.drain()
        finally:
            self._pipe = None
            pipe.give_back()


def sleep(seconds):
    """Sleeps as StackStorm's sensors do between polls: other greenlets run."""
    if _trampoline() is None:
        time.sleep(seconds)
    else:
        sys.modules["eventlet"].sleep(seconds)


def hub_runs_here():
    """Whether the caller is a greenlet of a thread in which eventlet's hub is in use."""
    return _trampoline() is not None


def forget_pipes():
    """Lets go of pipes that a forked process shares with its parent."""
    del _Pipe.free[:]


def _trampoline():
    hubs = sys.modules.get("eventlet.hubs")
    # A hub is made at a thread's first use of one. To ask for it with get_hub() would make one in every thread.
    hub = getattr(getattr(hubs, "_threadlocal", None), "hub", None)
    if hub is None or getattr(hub, "greenlet", None) is sys.modules["greenlet"].getcurrent():
        return None
    return hubs.trampoline


class _Pipe:
    """Wakes a greenlet. Never closed but used again: a late poke is then a needless wake-up, no stray byte."""

    free = []

    @classmethod
    def take(cls):
        try:
            return cls.free.pop()
        except IndexError:
            return cls()

    def __init__(self):
        self.reading, self._writing = _pipe()
        _set_blocking(self.reading, False)
        _set_blocking(self._writing, False)

    def give_back(self):
        self.free.append(self)

    def poke(self):
        try:
            _write(self._writing, b".")
        except BlockingIOError:
            pass  # full of pokes

    def drain(self):
        try:
            _read(self.reading, 4096)
        except BlockingIOError:
            pass
