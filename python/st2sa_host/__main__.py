"""The host: one Python for a virtualenv that forks a process for each sensor and ends with its container.

It stays single-threaded, so that forking is safe, and imports what every sensor needs before it forks.
"""

import os
import select
import signal
import sys

from st2sa_host import crash, sensor
from st2sa_host.channel import EXIT_DISCONNECTED, Lines, connect, encoded, write_whole

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

EXIT_USAGE = 2

_READ_BYTES = 256 * 1024


def main():
    """Becomes what ST2SA_ROLE says."""
    role = os.environ.get("ST2SA_ROLE")
    lacking = [name for name in ("ST2SA_SOCKET", "ST2SA_TOKEN") if not os.environ.get(name)]
    if lacking or role not in ("host", "sensor"):
        sys.stderr.write(
            "st2sa_host is started by a st2sa sensor container, which sets ST2SA_ROLE to host or sensor"
            f"{', and ' + ' and '.join(lacking) if lacking else ''}: start `st2sa container` instead\n"
        )
        sys.exit(EXIT_USAGE)
    _settle_path()
    if role == "sensor":
        _control_process(PR_SET_CHILD_SUBREAPER, 1)
        sensor.main()
    else:
        _Host().run()


class _Host:
    def __init__(self):
        self._children = {}
        self._lines = Lines()

    def run(self):
        """Serves the container until it is gone."""
        try:
            self._control = connect("control", "host")
        except OSError as error:
            sys.stderr.write(f"st2sa_host: cannot reach the container at {os.environ['ST2SA_SOCKET']}: {error}\n")
            sys.exit(EXIT_DISCONNECTED)
        self._child_ended, self._wakeup = os.pipe()
        for end in (self._child_ended, self._wakeup):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        try:
            self._serve()
        except ConnectionError:
            pass
        except Exception:
            sys.excepthook(*sys.exc_info())
        finally:
            self._end()

    def _serve(self):
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        poller.register(self._child_ended, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._child_ended in ready:
                os.read(self._child_ended, 4096)
                self._reap()
            if self._control in ready:
                data = os.read(self._control, _READ_BYTES)
                if not data:
                    return
                for message in self._lines.feed(data):
                    if message.get("op") == "fork":
                        self._fork(message["process"], message["token"])

    def _fork(self, process, token):
        crash.point("host-fork-asked")
        alive, alive_here = os.pipe()
        host = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(alive)
            os.close(alive_here)
            self._say({"event": "fork_failed", "process": process, "error": str(error)})
            return
        if pid == 0:
            os.close(alive)
            self._become_sensor(host, token, alive_here)
        os.close(alive_here)
        os.read(alive, 1)  # it has its own group, or is dead
        os.close(alive)
        self._children[pid] = process
        self._say({"event": "forked", "process": process, "pid": pid})

    def _become_sensor(self, host, token, alive):
        """In the forked process. Never returns."""
        try:
            os.setsid()
            _control_process(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != host:
                os._exit(EXIT_DISCONNECTED)  # it died before it could have been told
            _control_process(PR_SET_CHILD_SUBREAPER, 1)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for fd in (self._control, self._child_ended, self._wakeup):
                os.close(fd)
            os.environ["ST2SA_TOKEN"] = token
            os.environ["ST2SA_ROLE"] = "sensor"
            os.write(alive, b".")
            os.close(alive)
            _close_input()
            sensor.main()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(sensor.EXIT_FAILED)

    def _reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            process = self._children.pop(pid, None)
            if process is not None:
                self._say({"event": "exited", "process": process, "pid": pid, "status": code})

    def _say(self, event):
        write_whole(self._control, encoded(event))

    def _end(self):
        for pid in self._children:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        os._exit(EXIT_DISCONNECTED)


def _settle_path():
    """Puts StackStorm's packages where sensors find them in StackStorm: behind what PYTHONPATH says, before the pack's
    virtualenv. Keeps the host's own folder, and the folder it was started in, out of a pack's way.

    PYTHONPATH says the same afterwards: a web framework's reloader starts this very command again, with the environment
    that it finds.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    lent = _stackstorms_packages()
    if not (getattr(sys.flags, "safe_path", False) or sys.flags.isolated):
        del sys.path[0]
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    inherited = [path for path in inherited if path not in (home, *lent)]
    others = [path for path in sys.path if path not in (home, *lent)]
    first = {os.path.abspath(path) for path in inherited}
    own = next((at for at, path in enumerate(others) if os.path.abspath(path) not in first), len(others))
    sys.path[:] = [*others[:own], *lent, *others[own:], home]
    os.environ["PYTHONPATH"] = os.pathsep.join([*inherited, *lent, home])


def _stackstorms_packages():
    """The folder of the packages in StackStorm's own virtualenv, if that is of this Python."""
    virtualenv = os.environ.get("ST2SA_STACKSTORM")
    if not virtualenv:
        return []
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = os.path.join(virtualenv, "lib", python, "site-packages")
    return [packages] if os.path.isdir(packages) else []


def _close_input():
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _control_process(option, value):
    if _prctl is None or _prctl(option, int(value)) != 0:
        sys.stderr.write(f"st2sa_host: prctl({option}) is not possible here: this process may outlive its container\n")


def _find_prctl():
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
        prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
        return prctl
    except (ImportError, OSError, AttributeError):
        return None


_prctl = _find_prctl()

if __name__ == "__main__":
    main()
