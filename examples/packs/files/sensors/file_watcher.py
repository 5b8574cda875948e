"""Watches files for new lines: one trigger instance, so one rule, for each file."""

import io
import os
import threading

from st2reactor.sensor.base import PollingSensor

# For each file: a poll stays short however much was written meanwhile, the next one takes the rest. Also the longest
# line; a longer one arrives in pieces.
BYTES_A_POLL_AT_MOST = 64 * 1024


class FileWatcher(PollingSensor):
    def __init__(self, sensor_service, config=None, poll_interval=5):
        super().__init__(sensor_service=sensor_service, config=config, poll_interval=poll_interval)
        self._logger = sensor_service.get_logger(__name__)
        self._triggers = {}
        # Triggers come and go from another thread than the one that polls.
        self._lock = threading.Lock()

    def setup(self):
        pass

    def poll(self):
        with self._lock:
            for trigger in list(self._triggers.values()):
                self._poll_file(trigger)

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        path = trigger["parameters"]["path"]
        with self._lock:
            self._triggers[trigger["ref"]] = trigger
        self._logger.info("watching %s", path)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        except OSError as error:
            self._logger.error("cannot make the folder of %s: %s", path, error)

    def update_trigger(self, trigger):
        self.add_trigger(trigger)

    def remove_trigger(self, trigger):
        with self._lock:
            if self._triggers.pop(trigger["ref"], None):
                self.sensor_service.delete_value(offset_name(trigger))
        self._logger.info("no longer watching %s", trigger["parameters"]["path"])

    def _poll_file(self, trigger):
        path = trigger["parameters"]["path"]
        # The offset comes from the datastore at every poll: what is kept in memory only is lost with the process.
        offset = int(self.sensor_service.get_value(offset_name(trigger)) or 0)
        try:
            size = os.path.getsize(path)
            if size == offset:
                return
            if size < offset:
                self._logger.info("%s has become shorter: reading it from its start", path)
                offset = 0
            lines = read_lines(path, offset)
        except FileNotFoundError:
            return
        except OSError as error:
            # One file that cannot be read must not keep the others waiting.
            self._logger.error("cannot read %s: %s", path, error)
            return

        for line in lines:
            payload = {"path": path, "line": line.decode(errors="replace").rstrip("\r\n"), "offset": offset}
            # To this rule's own trigger instance: its type alone would reach the rules of every other file too.
            self.sensor_service.dispatch(trigger=trigger["ref"], payload=payload)
            offset += len(line)
            self.sensor_service.set_value(offset_name(trigger), offset)


def offset_name(trigger):
    return "offset:" + trigger["ref"]


def read_lines(path, offset):
    """The whole lines from `offset` on; a line that is still being written waits for its end."""
    with open(path, "rb") as file:
        file.seek(offset)
        lines = io.BytesIO(file.read(BYTES_A_POLL_AT_MOST)).readlines()
    if lines and not lines[-1].endswith(b"\n") and len(lines[-1]) < BYTES_A_POLL_AT_MOST:
        lines.pop()
    return lines
