"""The faults. Each is a function of a fleet and a random generator, and ends by itself what must end."""

import time


def _kill(node, *pieces):
    node.kill(*pieces)


def _revive(fleet, node, rng):
    """As an operator, or a machine, would: after a while."""
    time.sleep(rng.uniform(0, 0.4))
    fleet.settle(node)


def _data(fleet, rng):
    return rng.choice(fleet.data)


def kill_cp_worker(fleet, rng):
    _kill(fleet.control, "worker")


def kill_cp_nginx(fleet, rng):
    _kill(fleet.control, "nginx")


def kill_cp_supervisor(fleet, rng):
    _kill(fleet.control, "supervisor")
    _revive(fleet, fleet.control, rng)


def kill_cp_all(fleet, rng):
    _kill(fleet.control, "all")
    _revive(fleet, fleet.control, rng)


def kill_agent(fleet, rng):
    _kill(_data(fleet, rng), "agent")


def kill_dp_worker(fleet, rng):
    _kill(_data(fleet, rng), "worker")


def kill_dp_nginx(fleet, rng):
    _kill(_data(fleet, rng), "nginx")


def kill_dp_supervisor(fleet, rng):
    node = _data(fleet, rng)
    _kill(node, "supervisor")
    _revive(fleet, node, rng)


def kill_dp_all(fleet, rng):
    node = _data(fleet, rng)
    _kill(node, "all")
    _revive(fleet, node, rng)


def kill_everything(fleet, rng):
    for node in fleet.nodes():
        _kill(node, "all")
    for node in fleet.nodes():
        _revive(fleet, node, rng)


def restart_cp(fleet, rng):
    fleet.control.weir("restart", fail=False)
    fleet.settle(fleet.control)


def restart_dp(fleet, rng):
    node = _data(fleet, rng)
    node.weir("restart", fail=False)  # another fault may be in its way
    fleet.settle(node)


def freeze_cp(fleet, rng):
    fleet.freeze(fleet.control.workers())
    time.sleep(rng.uniform(0.1, 2.5))
    fleet.thaw()


def freeze_agent(fleet, rng):
    pid = _data(fleet, rng).pid("agent")
    fleet.freeze([pid] if pid else [])
    time.sleep(rng.uniform(0.1, 2.5))
    fleet.thaw()


# -- the connection between the planes --------------------------------------------------------------


def _relay(fleet, rng):
    return fleet.relays[_data(fleet, rng)]


def cut(fleet, rng):
    _relay(fleet, rng).cut(reset=rng.random() < 0.5)


def cut_for_a_while(fleet, rng):
    relay = _relay(fleet, rng)
    relay.cut(block=True)
    time.sleep(rng.uniform(0.1, 1.5))
    relay.unblock()


def slow(fleet, rng):
    relay = _relay(fleet, rng)
    relay.slow(rng.choice([2000, 20000, 200000]))
    time.sleep(rng.uniform(0.5, 2))
    relay.calm()


def late_pieces(fleet, rng):
    """Small pieces, each late: frames and TLS records arrive torn apart."""
    relay = _relay(fleet, rng)
    relay.late(0, 0.003, chunk=rng.choice([1, 7, 100]))
    time.sleep(rng.uniform(0.5, 1.5))
    relay.calm()


def late_by_chance(fleet, rng):
    relay = _relay(fleet, rng)
    relay.late(0, rng.choice([0.02, 0.2]))
    time.sleep(rng.uniform(0.5, 2))
    relay.calm()


def half_open(fleet, rng):
    relay = _relay(fleet, rng)
    relay.stall(*rng.choice([("up",), ("down",), ("up", "down")]))
    time.sleep(rng.uniform(0.2, 3))
    if rng.random() < 0.5:
        relay.cut()
    relay.calm()


# -- disks and clocks -----------------------------------------------------------------------------------


def full_disk(fleet, rng):
    if not fleet.disks:
        return False
    disk = rng.choice(list(fleet.disks.values()))
    disk.fill()
    time.sleep(rng.uniform(0.2, 1.5))
    disk.drain()
    return True


def full_disk_and_death(fleet, rng):
    """What dies cannot come back in the usual way while there is no space."""
    nodes = [node for node in fleet.nodes() if node.disk]
    if not nodes:
        return False
    node = rng.choice(nodes)
    node.disk.fill()
    time.sleep(rng.uniform(0, 0.5))
    _kill(node, "worker" if node is fleet.control else "agent")
    time.sleep(rng.uniform(0.2, 1))
    node.disk.drain()
    return True


def clock_jump(fleet, rng):
    node = rng.choice(fleet.nodes())
    fleet.clocks[node].jump(rng.choice([-86400, -3600, -61, -2, 2, 61, 3600, 86400]))
    time.sleep(rng.uniform(0.2, 1))
    if rng.random() < 0.7:
        fleet.clocks[node].jump(0)


# Those after which a client of a data plane may find its connection broken.
DISTURBING = {kill_dp_worker, kill_dp_nginx, kill_dp_supervisor, kill_dp_all, kill_everything,
              restart_dp}
DISK_FAULTS = [full_disk, full_disk_and_death]  # more often where there is such a disk
FAULTS = [
    kill_cp_worker, kill_cp_nginx, kill_cp_supervisor, kill_cp_all, kill_agent, kill_dp_worker,
    kill_dp_nginx, kill_dp_supervisor, kill_dp_all, kill_everything, restart_cp, restart_dp, freeze_cp,
    freeze_agent, cut, cut_for_a_while, slow, late_pieces, late_by_chance, half_open, full_disk,
    full_disk_and_death, clock_jump,
]
