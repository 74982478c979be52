"""Who may have the configuration: certificates of every wrong kind, in both modes, at both ends."""

import ssl
import time
import uuid

import pytest
from weir import certs, classic, http, ports, wire
from weir.node import wait_until

WRONG = ["none", "other self-signed", "other authority", "expired", "same name and authority key lost"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Certificates: an authority with one control and one data plane, and everything wrong."""
    folder = tmp_path_factory.mktemp("kit")
    ca, stranger = certs.authority(folder, "ca"), certs.authority(folder, "stranger")
    return {
        "ca": ca,
        "control": certs.signed(folder, "control", ca, "cp.example"),
        "data": certs.signed(folder, "data", ca, "dp.example"),
        "shared": certs.self_signed(folder, "shared"),
        "none": None,
        "other self-signed": certs.self_signed(folder, "impostor"),
        "other authority": certs.signed(folder, "foreign", stranger, "dp.example"),
        "expired": certs.signed(folder, "expired", ca, "dp.example", expired=True),
        "same name and authority key lost": certs.self_signed(folder, "fake", "Weir test ca"),
    }


@pytest.fixture(scope="module")
def shared(module_nodes, kit):
    return module_nodes.control("shared", pair=kit["shared"])


@pytest.fixture(scope="module")
def pki(module_nodes, kit):
    return module_nodes.control("pki", pair=kit["control"], cluster_mtls="pki",
                                cluster_ca_cert=kit["ca"][0])


def knocks(control, pair):
    """Tries to become a data plane. Returns the bytes that came after the TLS handshake."""
    plane = wire.DataPlane(control.cluster_address, pair)
    try:
        plane.open()
    except (wire.Refused, wire.Closed, TimeoutError, OSError) as error:
        return error
    plane.close()
    return None


@pytest.mark.parametrize("kind", WRONG)
def test_shared_mode_refuses(shared, kit, kind):
    mark = shared.mark()
    refusal = knocks(shared, kit[kind])
    assert refusal is not None, "the connection was upgraded"
    assert not isinstance(refusal, wire.Refused) or refusal.status in (0, 400), refusal
    shared.wait_log("certificate", mark=mark)


@pytest.mark.parametrize("kind", WRONG)
def test_pki_mode_refuses(pki, kit, kind):
    mark = pki.mark()
    refusal = knocks(pki, kit[kind])
    assert refusal is not None, "the connection was upgraded"
    assert not isinstance(refusal, wire.Refused) or refusal.status in (0, 400), refusal
    pki.wait_log("certificate", mark=mark)


def test_shared_mode_takes_the_shared_certificate(shared, kit):
    with wire.DataPlane(shared.cluster_address, kit["shared"]) as plane:
        assert plane.sync()


def test_pki_mode_takes_what_the_authority_signed(pki, kit):
    with wire.DataPlane(pki.cluster_address, kit["data"]) as plane:
        assert plane.sync()


@pytest.fixture(scope="module")
def bound(module_nodes, kit):
    return module_nodes.control("bound", pair=kit["control"], cluster_mtls="pki",
                                cluster_ca_cert=kit["ca"][0], cluster_bind_identity="on")


def claims(control, pair, node_id):
    """Whether a data plane with this certificate may be that node."""
    plane = wire.DataPlane(control.cluster_address, pair, node_id=node_id)
    try:
        plane.connect()
        return bool(plane.sync())
    except (wire.Closed, ConnectionError):
        return False
    finally:
        plane.close()


def test_a_bound_identity_is_that_of_the_certificate(bound, pki, kit, tmp_path):
    own, other = str(uuid.uuid4()), str(uuid.uuid4())
    named = [certs.signed(tmp_path, "cn", kit["ca"], own),
             certs.signed(tmp_path, "uri", kit["ca"], "dp.example", names=f"URI:urn:uuid:{own}"),
             certs.signed(tmp_path, "dns", kit["ca"], "dp.example", names=f"DNS:dp.example,DNS:{own}")]
    for pair in named:
        assert claims(bound, pair, own)
    rows = bound.data_planes()
    for pair in [*named, kit["data"]]:
        mark = bound.mark()
        assert not claims(bound, pair, other)
        line = bound.wait_log(other, "cluster_bind_identity", mark=mark)
        assert "which its certificate does not name" in line and "peer=127.0.0.1" in line
    assert bound.data_planes().keys() == rows.keys() == {own}
    assert claims(pki, kit["data"], other), "without the setting any id may be claimed"


def test_a_bound_identity_is_that_of_the_certificate_in_the_classic_sync(bound, kit, tmp_path):
    own, other = str(uuid.uuid4()), str(uuid.uuid4())
    pair = certs.signed(tmp_path, "cn", kit["ca"], own)
    plane = classic.DataPlane(bound.cluster_address, pair, node_id=own).connect()
    assert plane.table()["parameters"]
    plane.websocket.close()
    mark = bound.mark()
    with pytest.raises((wire.Refused, wire.Closed, ConnectionError)):
        classic.DataPlane(bound.cluster_address, pair, node_id=other).connect()
    line = bound.wait_log("cluster_bind_identity", other, mark=mark)
    assert "its certificate does not name the node id that it claims" in line
    assert other not in bound.data_planes()


def test_a_data_plane_of_ours_with_a_bound_identity(bound, nodes, kit, tmp_path):
    ident = str(uuid.uuid4())
    mine = certs.signed(tmp_path, "mine", kit["ca"], "dp.example", names=f"URI:urn:uuid:{ident}")
    peer = {"cluster_mtls": "pki", "cluster_ca_cert": kit["ca"][0], "cluster_server_name": "cp.example"}
    data = nodes.data(bound.cluster_address, pair=mine, node_id=ident, **peer)
    data.wait_ready()
    thief = nodes.data(bound.cluster_address, "thief", pair=kit["data"], node_id=ident, **peer)
    bound.wait_log(ident, "cluster_bind_identity", timeout=20)
    assert http.once(thief.status_address, "/status/ready").status == 503
    assert bound.data_planes()[ident]["connected"]


def test_a_shared_certificate_binds_nobody(nodes):
    done = nodes.control("both", start=False, cluster_bind_identity="on").weir("check", fail=False)
    assert done.returncode != 0 and "cluster_bind_identity" in done.stdout + done.stderr


def test_one_id_from_two_addresses_is_said_once(shared, kit):
    with wire.DataPlane(shared.cluster_address, kit["shared"]) as first:
        mark = shared.mark()
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            second = wire.DataPlane(shared.cluster_address, kit["shared"], node_id=first.node_id)
            second.source = address
            with second:
                assert second.sync()
        first.get_delta()
        assert classic.DataPlane(shared.cluster_address, kit["shared"], node_id=first.node_id).connect().table()
        lines = [line for line in shared.log(mark).splitlines() if "claimed from two addresses" in line]
        assert len(lines) == 1 and "[warn]" in lines[0], lines
        assert first.node_id in lines[0] and "peer=127.0.0.2" in lines[0]


def test_a_certificate_without_its_key_is_worth_nothing(shared, kit):
    """The right certificate with another key: TLS itself must fail."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError):
        context.load_cert_chain(kit["shared"][0], kit["other self-signed"][1])


def test_no_certificate_is_needed_for_nothing_else(shared):
    """Other paths of the listener say nothing of the configuration either."""
    for path in ("/", "/v2", "/v2/outlet/", "/routes", "/clustering/data-planes"):
        plane = wire.DataPlane(shared.cluster_address, None)
        with pytest.raises((wire.Refused, OSError)):
            plane.open(path)


def played(nodes, kit, pair, authority, **settings):
    plane = wire.ControlPlane(ports.free(), pair, authority=authority).start()
    data = nodes.data(("127.0.0.1", plane.port), pair=kit.pop("own"), **settings)
    return plane, data


@pytest.mark.parametrize("kind", ["other self-signed", "expired"])
def test_a_data_plane_tells_a_false_control_plane_nothing_in_shared_mode(nodes, kit, kind):
    plane, data = played(nodes, {"own": kit["shared"]}, kit[kind], kit["shared"][0])
    wait_until(lambda: plane.ends, 15, "a connection that failed")
    time.sleep(0.2)
    assert plane.requests == [] and plane.sessions == []
    assert "certificate" in data.wait_log("certificate").lower()
    plane.stop()


def test_a_data_plane_in_pki_mode_checks_authority_and_name(nodes, kit):
    good, data = played(nodes, {"own": kit["data"]}, kit["control"], kit["ca"][0], cluster_mtls="pki",
                        cluster_ca_cert=kit["ca"][0], cluster_server_name="cp.example")
    good.wait(lambda: good.sessions, 15, "a connection")
    data.end()
    good.stop()
    other, data = played(nodes, {"own": kit["data"]}, kit["other authority"], kit["ca"][0],
                         cluster_mtls="pki", cluster_ca_cert=kit["ca"][0], name="dp2",
                         cluster_server_name="dp.example")
    wait_until(lambda: other.ends, 15, "a connection that failed")
    assert other.requests == []
    other.stop()
    named, data = played(nodes, {"own": kit["data"]}, kit["control"], kit["ca"][0],
                         cluster_mtls="pki", cluster_ca_cert=kit["ca"][0], name="dp3",
                         cluster_server_name="someone.else.example")
    wait_until(lambda: named.ends, 15, "a connection that failed")
    assert named.requests == []
    named.stop()


def test_keys_and_data_are_readable_for_their_owner_only(shared):
    for name in ("weir.db",):
        mode = (shared.prefix / name).stat().st_mode & 0o777
        assert mode & 0o007 == 0, f"{name}: {mode:o}"


def test_a_control_plane_needs_its_certificate(nodes, kit):
    node = nodes.control("bare", start=False)
    node.settings["cluster_cert_key"] = None
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and "cluster_cert" in done.stdout + done.stderr
