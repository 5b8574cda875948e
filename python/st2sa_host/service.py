"""The `sensor_service` that a sensor object gets, with StackStorm's signatures."""

import logging
import math

from st2sa_host.payload import storable

SYSTEM_SCOPE = "system"
"""The only scope that StackStorm allows a sensor."""

LISTED_AT_MOST = 100
"""How many values a list has where the sensor names no limit: StackStorm's page."""


class SensorService:
    """What a sensor may do to the outside. Every method can be called from any thread and greenlet."""

    def __init__(self, channel, pack, class_name):
        self._channel = channel
        self._logger = logging.getLogger(f"SensorWrapper.{pack}.{class_name}")
        self._warned = set()
        self.datastore_service = DatastoreService(channel, pack, class_name)

    def get_logger(self, name):
        """A logger of the sensor's own."""
        return logging.getLogger(f"{self._logger.name}.{name}")

    def get_user_info(self):
        """Who the sensor is to StackStorm's API."""
        return self.datastore_service.get_user_info()

    def dispatch(self, trigger, payload=None, trace_tag=None):
        """Dispatches a trigger; returns when that is durable."""
        trace_context = {"trace_tag": str(trace_tag)} if trace_tag else None
        return self._dispatch(trigger, payload, trace_context)

    def dispatch_with_context(self, trigger, payload=None, trace_context=None):
        """Dispatches a trigger as part of a trace; returns when that is durable."""
        return self._dispatch(trigger, payload, _trace(trace_context))

    def list_values(self, local=True, prefix=None, limit=None, offset=None):
        """Values of the datastore, as objects with `name` and `value`; local names are whole, `PACK.CLASS:NAME`."""
        return self.datastore_service.list_values(local=local, prefix=prefix, limit=limit, offset=offset)

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        """A value of the datastore, or None where there is none."""
        return self.datastore_service.get_value(name=name, local=local, scope=scope, decrypt=decrypt)

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        """Stores `str(value)`; returns when that is durable."""
        return self.datastore_service.set_value(
            name=name, value=value, ttl=ttl, local=local, scope=scope, encrypt=encrypt
        )

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        """Deletes a value."""
        return self.datastore_service.delete_value(name=name, local=local, scope=scope)

    def _dispatch(self, trigger, payload, trace_context):
        if not trigger or not isinstance(trigger, (str, dict)):
            raise TypeError(f"the trigger must be a reference or a dictionary, not {type(trigger).__name__}")
        if payload and not isinstance(payload, dict):
            raise TypeError(f"the payload must be a dictionary, not {type(payload).__name__}")
        if isinstance(trigger, dict):
            trigger, _ = storable(trigger)
        document = None
        if isinstance(payload, dict):
            document, changes = storable(payload)
            if changes:
                self._warn(trigger, changes)
        return self._channel.call("dispatch", trigger=trigger, payload=document, trace_context=trace_context)

    def _warn(self, trigger, changes):
        reference = trigger if isinstance(trigger, str) else str(trigger.get("type") or trigger.get("id"))
        if reference not in self._warned:
            self._warned.add(reference)
            self._logger.warning(
                'The payload of trigger "%s" holds what JSON cannot: %s (said once for each trigger)',
                reference,
                "; ".join(changes),
            )


class DatastoreService:
    """StackStorm's datastore as a sensor sees it."""

    def __init__(self, channel, pack, class_name):
        self._channel = channel
        self._prefix = f"{pack}.{class_name}:"

    def get_user_info(self):
        """Who the sensor is to StackStorm's API."""
        return {
            "username": "sensor_service",
            "authentication": {"method": "container", "location": None},
            "rbac": {"enabled": False, "roles": [], "is_admin": False},
        }

    def list_values(self, local=True, prefix=None, limit=None, offset=0):
        """See `SensorService.list_values`."""
        limit, offset = int(limit or LISTED_AT_MOST), int(offset or 0)
        most = limit + offset if limit > 0 else limit
        pairs = self._channel.call("list", prefix=prefix, local=bool(local), limit=most)
        return [self._pair(pair, local) for pair in (pairs or [])[offset:]]

    def get_value(self, name, local=True, scope=SYSTEM_SCOPE, decrypt=False):
        """See `SensorService.get_value`."""
        _check(name, scope)
        return self._channel.call("get", name=name, local=bool(local), scope=scope, decrypt=bool(decrypt))

    def set_value(self, name, value, ttl=None, local=True, scope=SYSTEM_SCOPE, encrypt=False):
        """See `SensorService.set_value`."""
        _check(name, scope)
        self._channel.call(
            "set",
            name=name,
            value=str.__str__(str(value)),
            local=bool(local),
            ttl=_seconds(ttl),
            scope=scope,
            encrypt=bool(encrypt),
        )
        return True

    def delete_value(self, name, local=True, scope=SYSTEM_SCOPE):
        """See `SensorService.delete_value`."""
        _check(name, scope)
        self._channel.call("delete", name=name, local=bool(local), scope=scope)
        return True

    def get_api_client(self):
        """StackStorm's own client, which needs a token that only StackStorm's own container can make."""
        raise NotImplementedError(
            "st2sa offers no API client: install st2client in the pack's virtualenv and give it an API key from the "
            "pack's configuration"
        )

    def _pair(self, pair, local):
        name = pair["name"]
        if local and not name.startswith(self._prefix):
            name = self._prefix + name
        return KeyValuePair(name, pair["value"])


class KeyValuePair:
    """A name in the datastore and its value."""

    def __init__(self, name, value):
        self.id = name
        self.name = name
        self.value = value

    def __repr__(self):
        return f"<KeyValuePair name={self.name},value={self.value}>"


def _check(name, scope):
    if scope != SYSTEM_SCOPE:
        raise ValueError(f"Scope {scope} is unsupported.")
    if not isinstance(name, str):
        raise TypeError(f"the name of a value must be a string, not {type(name).__name__}")


def _seconds(ttl):
    if not ttl:
        return None
    seconds = float(ttl)
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a ttl is a number of seconds above 0, not {ttl}")
    return int(seconds) if seconds.is_integer() else seconds


def _trace(context):
    if not context:
        return None
    if isinstance(context, dict):
        unknown = set(context) - {"id_", "trace_tag"}
        if unknown:
            raise TypeError(f"a trace context has `id_` and `trace_tag` only, not {', '.join(map(str, unknown))}")
        parts = context
    elif hasattr(context, "trace_tag") or hasattr(context, "id_"):
        parts = {name: getattr(context, name, None) for name in ("id_", "trace_tag")}
    else:
        raise TypeError(f"the trace context must be a TraceContext, not {type(context).__name__}")
    return {name: str(value) for name, value in parts.items() if value}
