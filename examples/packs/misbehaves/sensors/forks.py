"""A sensor that leaves a program running in a session of its own."""

import subprocess
import sys

from st2reactor.sensor.base import PollingSensor

# It lives on, but not for ever where nobody clears up.
PROGRAM = "import time; time.sleep(3600)"


class Forks(PollingSensor):
    def setup(self):
        self._left_running = None

    def poll(self):
        if self._left_running is None:
            self._left_running = subprocess.Popen([sys.executable, "-c", PROGRAM], start_new_session=True)
            self.sensor_service.get_logger(__name__).info("left process %d running", self._left_running.pid)

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
