"""Listens on a port and takes the JSON objects that are posted to it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from st2reactor.sensor.base import Sensor

# A webhook's document has some KiB.
BODY_BYTES_AT_MOST = 1024 * 1024
BIND_AGAIN_SECONDS = 2
# How late cleanup() may be noticed.
LOOK_UP_SECONDS = 0.2


class Listener(Sensor):
    def __init__(self, sensor_service, config=None):
        super().__init__(sensor_service=sensor_service, config=config)
        self._logger = sensor_service.get_logger(__name__)
        self._stopping = threading.Event()
        self._closed = threading.Event()
        self._closed.set()

    def setup(self):
        # The port is taken in run(): there it may take as long as it must.
        pass

    def run(self):
        server = self._bind()
        if server is None:
            return
        self._closed.clear()
        self._logger.info("listening on http://127.0.0.1:%d/", server.server_port)
        try:
            while not self._stopping.is_set():
                server.handle_request()
        finally:
            server.server_close()
            self._closed.set()

    def cleanup(self):
        self._stopping.set()
        self._closed.wait(10 * LOOK_UP_SECONDS)

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass

    def _bind(self):
        """The bound server; None when the sensor is to stop before the port became free."""
        port = self.config.get("port", 0)
        while not self._stopping.is_set():
            try:
                return Server(("127.0.0.1", port), self.sensor_service, self._logger)
            except OSError as error:
                self._logger.warning("cannot listen on port %s yet: %s", port, error)
            self._stopping.wait(BIND_AGAIN_SECONDS)
        return None


class Server(ThreadingHTTPServer):
    daemon_threads = True
    timeout = LOOK_UP_SECONDS

    def __init__(self, address, sensor_service, logger):
        super().__init__(address, Handler)
        self.sensor_service = sensor_service
        self.logger = logger


class Handler(BaseHTTPRequestHandler):
    # A client that sends nothing must not hold its thread for ever.
    timeout = 10

    def do_POST(self):
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return self._answer(411, "say how long the body is (Content-Length)")
        if not 0 <= length <= BODY_BYTES_AT_MOST:
            return self._answer(413, f"at most {BODY_BYTES_AT_MOST} bytes")
        try:
            body = json.loads(self.rfile.read(length).decode())
        except (ValueError, RecursionError) as error:
            return self._answer(400, f"not JSON: {error}")
        if not isinstance(body, dict):
            return self._answer(400, "not a JSON object")

        # It returns when the event is safe, so the client may be told: who gets no 202 posts again.
        self.server.sensor_service.dispatch(trigger="listener.posted", payload={"path": self.path, "body": body})
        return self._answer(202, "taken")

    def log_message(self, message, *values):
        self.server.logger.debug(message, *values)

    def _answer(self, status, text):
        body = (text + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
