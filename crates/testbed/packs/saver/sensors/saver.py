"""A sensor that keeps the last number in the datastore, and dispatches the numbers only then."""

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource, die_if_told

BATCH = 3


class Saver(PollingSensor):
    def setup(self):
        self.sensor_service.get_logger(__name__).info("counts on")

    def poll(self):
        with AtSource(self, "saver"):
            after = int(self.sensor_service.get_value("after") or 0)
            last = after + BATCH
            self.sensor_service.set_value("after", last)
            die_if_told(self)
            for number in range(after + 1, last + 1):
                self.sensor_service.dispatch(trigger="saver.number", payload={"number": number})

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
