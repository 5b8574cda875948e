"""A sensor that ends its own process in the third poll."""

import sys

from st2reactor.sensor.base import PollingSensor


class Exits(PollingSensor):
    def setup(self):
        self._polls = 0

    def poll(self):
        self._polls += 1
        if self._polls == 3:
            sys.exit("this sensor exits on purpose, as in every third poll")

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
