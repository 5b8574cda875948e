"""A web hook under Flask's debugger, whose reloader starts a second Python that does the work."""

import os

from flask import Flask, jsonify, request
from st2reactor.sensor.base import Sensor


class Hook(Sensor):
    def setup(self):
        self.app = Flask("hook")

    def run(self):
        @self.app.route("/", methods=["POST"])
        def take():
            self.sensor_service.dispatch("green.event", {"body": request.get_json(), "pid": os.getpid()})
            return jsonify(ok=True)

        self.app.run(host="127.0.0.1", port=self.config["port"], debug=True)

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass
