"""A sensor whose poll never returns."""

import time

from st2reactor.sensor.base import PollingSensor


class Hangs(PollingSensor):
    def setup(self):
        pass

    def poll(self):
        self.sensor_service.get_logger(__name__).info("this poll never returns")
        while True:
            time.sleep(60)

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
