"""Reaps the orphans that a sensor process adopts, and never a child that the sensor itself may wait for.

A sensor process is the subreaper of whatever it starts, so that nothing escapes its container; what the sensor starts
and leaves behind (a daemon, `sh -c 'command &'`, the upkeep that `git fetch` starts) becomes the process's child when
the one between them ends, and nobody would wait for it.

Its own children are known: whatever Python begins a process with notes the number. Of the others,

- one in a session that is neither its own nor one that this process was ever in was born to somebody else, since a
  process is born in its parent's session and can leave it only for one of its own: it is reaped once it has ended;
- any other may have been begun by a library's C code, which waits for it soon if at all: it is spared for a few looks.
"""

import functools
import os
import subprocess
from _thread import start_new_thread
from time import sleep as _sleep

try:
    import _posixsubprocess
except ImportError:
    _posixsubprocess = None

SECONDS_BETWEEN = 2.0
"""Shorter than any poll interval that StackStorm allows; without a child that has ended it costs one system call."""

LOOKS_SPARED = 4
"""Looks that find a child dead and leave it to whoever may have begun it. They are counted, not timed: who was frozen
meanwhile could not wait for anything."""

_getsid, _listdir, _open, _waitid, _waitpid = os.getsid, os.listdir, open, os.waitid, os.waitpid
_begun = set()


def start():
    """Reaps from now on, in a thread that nothing of a pack reaches."""
    _note_births()
    start_new_thread(_reap_always, (_getsid(0),))


def _note_births():
    """Has all that Python begins a process with note its number."""
    import posix

    for module in (os, posix):
        for name in ("fork", "forkpty", "posix_spawn", "posix_spawnp"):
            _have_noted(module, name)
    # From Python 3.12 on, subprocess has a name of its own for it.
    _have_noted(_posixsubprocess, "fork_exec")
    _have_noted(subprocess, "_fork_exec")


def _have_noted(module, name):
    begin = getattr(module, name, None)
    if begin is None:
        return

    @functools.wraps(begin)
    def noted(*arguments, **keywords):
        born = begin(*arguments, **keywords)
        number = born[0] if isinstance(born, tuple) else born
        if number:
            _begun.add(number)
        return born

    setattr(module, name, noted)


def _reap_always(first_session):
    looks = {}
    while True:
        _sleep(SECONDS_BETWEEN)
        try:
            if _waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                looks = _reap({first_session, _getsid(0)}, looks)
        except OSError:
            pass  # no children, or somebody else was faster


def _reap(own_sessions, looks):
    """Looks at each child once. `looks` says how often each was found dead and spared; gives the same as it is then."""
    begun = set(_begun)
    children = _children()
    _begun.difference_update(begun.difference(children))  # waited for: their numbers may come again
    spared = {}
    for child in children:
        if child in _begun:
            continue
        try:
            session = _getsid(child)
            if session != child and session not in own_sessions:
                _waitpid(child, os.WNOHANG)
            elif _waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if looks.get(child, 0) >= LOOKS_SPARED:
                    _waitpid(child, os.WNOHANG)
                else:
                    spared[child] = looks.get(child, 0) + 1
        except OSError:
            pass  # the sensor has waited for it meanwhile
    return spared


def _children():
    found = []
    for thread in _listdir("/proc/self/task"):
        try:
            with _open(f"/proc/self/task/{thread}/children") as children:
                found += map(int, children.read().split())
        except OSError:
            pass  # the thread has ended, and its children are another's now
    return found
