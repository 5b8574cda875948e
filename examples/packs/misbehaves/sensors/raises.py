"""A sensor of which every third poll raises."""

from st2reactor.sensor.base import PollingSensor


class Raises(PollingSensor):
    def setup(self):
        self._polls = 0

    def poll(self):
        self._polls += 1
        if self._polls % 3 == 0:
            raise RuntimeError("this poll fails on purpose, as every third does")

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
