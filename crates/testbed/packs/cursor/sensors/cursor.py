"""A sensor that dispatches numbers and keeps the last one in the datastore."""

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource, die_if_told

BATCH = 3


class Cursor(PollingSensor):
    def setup(self):
        self.sensor_service.get_logger(__name__).info("counts on")

    def poll(self):
        with AtSource(self, "cursor"):
            after = int(self.sensor_service.get_value("after") or 0)
            last = after + BATCH
            for number in range(after + 1, last + 1):
                self.sensor_service.dispatch(trigger="cursor.number", payload={"number": number})
            die_if_told(self)
            self.sensor_service.set_value("after", last)

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
