"""A sensor that leaves a daemon running: its own session, no parent, deaf to SIGTERM."""

import subprocess
import sys

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource

# It appends its number to a file every 20 ms; not for ever, where nobody ends it.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if os.fork() > 0:
    os._exit(0)
with open(sys.argv[1], "a", buffering=1) as file:
    for _ in range(6000):
        file.write(f"{os.getpid()}\\n")
        time.sleep(0.02)
"""


class Forker(PollingSensor):
    def setup(self):
        command = [sys.executable, "-c", DAEMON, self.config["file"]]
        subprocess.Popen(command, start_new_session=True).wait()

    def poll(self):
        with AtSource(self, "forker"):
            self.sensor_service.dispatch(trigger="forker.polled", payload={})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
