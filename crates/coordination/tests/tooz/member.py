"""Reads a service registry as StackStorm's API does, then joins it until it is told to leave, as its services do.

Arguments: the url, and the member's group and name. What it has read goes to the standard output, one JSON document on a
line; a second line says that it has joined. A line on the standard input has it leave.
"""

import json
import sys

from tooz import coordination


def main():
    url, group, member = sys.argv[1:]
    # As StackStorm's own `coordinator_setup` does.
    coordinator = coordination.get_coordinator(url, member.encode(), lock_timeout=60)
    coordinator.start(start_heart=True)
    say(read(coordinator))
    capabilities = {"name": group, "type": "passive", "hostname": "host", "pid": 7}
    try:
        coordinator.create_group(group.encode()).get()
    except coordination.GroupAlreadyExist:
        pass
    coordinator.join_group(group.encode(), capabilities=capabilities).get()
    say("joined")
    sys.stdin.readline()
    coordinator.leave_group(group.encode()).get()
    coordinator.stop()


def read(coordinator):
    """Everything that `GET /api/v1/service_registry/groups/GROUP/members` would say, by group."""
    found = {}
    for group in coordinator.get_groups().get():
        try:
            members = coordinator.get_members(group).get()
        except coordination.GroupNotCreated:
            # In etcd tooz takes members for groups, too.
            continue
        found[group.decode()] = {
            member.decode(): coordinator.get_member_capabilities(group, member).get()
            for member in members
        }
    return found


def say(document):
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main()
