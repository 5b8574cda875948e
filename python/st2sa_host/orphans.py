"""Reaps the orphans that a sensor process adopts, and never a child that the sensor itself may wait for.

A sensor process is the subreaper of whatever it starts, so that nothing escapes its container; a daemon that the
sensor starts becomes the process's child when the one between them ends, and nobody would wait for it.

A child is known to be adopted by its session. A process is born in its parent's session and can leave it only for one
of its own, which has its own number. So a child in a session that is neither its own nor one that this process was ever
in was born to somebody else. That covers what makes itself a daemon (fork, setsid, fork). What cannot be told from a
child of the sensor's stays until the process ends: an orphan in this session (`sh -c 'command &'`), or in one of its
own (`sh -c 'setsid command &'`).
"""

import os
from _thread import start_new_thread
from time import sleep as _sleep

SECONDS_BETWEEN = 2.0
"""Shorter than any poll interval that StackStorm allows; without a child that has ended it costs one system call."""

_getsid, _listdir, _open, _waitid, _waitpid = os.getsid, os.listdir, open, os.waitid, os.waitpid


def start():
    """Reaps from now on, in a thread that nothing of a pack reaches."""
    start_new_thread(_reap_always, (_getsid(0),))


def _reap_always(first_session):
    while True:
        _sleep(SECONDS_BETWEEN)
        try:
            if _waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _reap({first_session, _getsid(0)})
        except OSError:
            pass  # no children, or somebody else was faster


def _reap(own_sessions):
    for child in _children():
        try:
            session = _getsid(child)
            if session != child and session not in own_sessions:
                _waitpid(child, os.WNOHANG)
        except OSError:
            pass  # the sensor has waited for it meanwhile


def _children():
    found = []
    for thread in _listdir("/proc/self/task"):
        try:
            with _open(f"/proc/self/task/{thread}/children") as children:
                found += map(int, children.read().split())
        except OSError:
            pass  # the thread has ended, and its children are another's now
    return found
