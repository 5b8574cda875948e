"""A sensor that does what its configuration says, on the container that it names, once a file is there."""

import os
import sys
import time

from st2reactor.sensor.base import PollingSensor

from at_source import AtSource

FLOOD_LINES = 50_000
# More than one poll may dispatch.
TRIGGERS = 100_001
MEBIBYTE = 1 << 20
# More than any bound that a test sets; the machine has it, should no bound be set.
HOG_MEBIBYTES = 512


class Ill(PollingSensor):
    def setup(self):
        self._polls = 0
        # What a test runs is marked with BED/PROGRAM/RUN.
        here = os.environ["ST2SA_TESTBED_RUN"].split("/")[1]
        self._is_here = self.config["where"] in ("", here)

    def poll(self):
        self._polls += 1
        with AtSource(self, "ill"):
            self.sensor_service.dispatch(trigger="ill.polled", payload={"poll": self._polls})
        if self._is_here and os.path.exists(self.config["once"]):
            getattr(self, self.config["how"])()

    def hangs(self):
        while True:
            time.sleep(60)

    def raises(self):
        raise ValueError("this sensor raises on purpose")

    def dies(self):
        os._exit(3)

    def exits(self):
        sys.exit(0)

    def hogs(self):
        self._hoard = [bytearray(MEBIBYTE) for _ in range(HOG_MEBIBYTES)]

    def overflows(self):
        for number in range(TRIGGERS):
            self.sensor_service.dispatch(trigger="ill.polled", payload={"number": number})

    def goes_on(self):
        while True:
            self.sensor_service.dispatch(trigger="ill.polled", payload={"text": "x" * 1000})

    def swells(self):
        self.sensor_service.dispatch(trigger="ill.polled", payload={"text": "x" * (10 * MEBIBYTE)})

    def floods(self):
        for number in range(FLOOD_LINES):
            print(f"line {number} of a flood that nobody wants to read")

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
