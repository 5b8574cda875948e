"""Hosts unmodified StackStorm sensors for a st2sa sensor container.

`python -m st2sa_host` is started by a container with what docs/sensor-protocol.md lists in its environment. With
ST2SA_ROLE=host it forks one process a sensor (`__main__`); with ST2SA_ROLE=sensor it is such a process itself.

    __main__   the host: forks, reaps, ends with its container
    sensor     the life of one sensor process
    loader     from a file of a pack to an object
    faults     why something of a pack cannot go on: where, and what to do
    missing    the same for modules and names that are not there
    places     where things are: in the pack, in Python, in what was installed
    service    the `sensor_service` that the object gets
    payload    any Python value as JSON that StackStorm stores
    provided   st2reactor and the parts of st2common that sensors import
    orphans    what a sensor started and left behind
    channel    the connection to the container
    waiting    waiting that lets greenlets run

Nothing but the standard library, CPython 3.8 and later. What must work whatever a pack does to its interpreter
(eventlet's monkey patching, signals, blocked threads) uses functions that were saved before the pack was imported.
"""

PROTOCOL = 1
