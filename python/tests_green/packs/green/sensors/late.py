"""Sensors of a module that patches after it has imported what ought to be patched, as most on the Exchange do."""

import select
import ssl
import sys
from ssl import SSLContext

import eventlet
from flask import Flask, jsonify, request
from st2reactor.sensor.base import PollingSensor, Sensor

eventlet.monkey_patch(os=True, select=True, socket=True, thread=True, time=True)


class Hooks:
    def setup(self):
        pass

    def cleanup(self):
        pass

    def add_trigger(self, trigger):
        pass

    def update_trigger(self, trigger):
        pass

    def remove_trigger(self, trigger):
        pass


class Secure(Hooks, PollingSensor):
    """Makes a TLS context of the class that it imported early."""

    def poll(self):
        context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        poll = select.poll()
        poll.register(0)
        self.sensor_service.dispatch("green.event", {"version": context.minimum_version.name})


class LateHook(Hooks, Sensor):
    """A web server of the classes that it imported early."""

    def run(self):
        app = Flask("hook")

        @app.route("/", methods=["POST"])
        def take():
            self.sensor_service.dispatch("green.event", {"body": request.get_json()})
            return jsonify(ok=True)

        app.run(host="127.0.0.1", port=self.config["port"])

    def cleanup(self):
        for reason in ("the server ends", "and once more"):
            eventlet.spawn(sys.exit, reason)
            for number in range(20):
                self.sensor_service.set_value("cleanup", f"{reason}: {number}")
