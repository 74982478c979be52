"""/metrics of both planes, what is built on them (dashboard, alerts, docs), and Weir-Config-Version."""

import json
import re
import subprocess
import time

import pytest
import yaml
from weir import http, ports
from weir.node import BUILD, ROOT, wait_until
from weir.relay import Relay

SMALL = {"cluster_sync_batch_size": 4096}
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABELS = re.compile(r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,(?!\})|(?=\})))*\}')
SAMPLE = re.compile(rf"({NAME.pattern})({LABELS.pattern})? (\S+)")
ENDINGS = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


class Scrape:
    """One scrape, held to the rules of the text form; samples by name with labels."""

    def __init__(self, text):
        self.kinds, self.help, self.samples = {}, {}, {}
        family, closed = None, set()
        assert text.endswith("\n")
        for line in text.splitlines():
            word = line.split(" ", 3)
            if word[:2] == ["#", "HELP"]:
                assert word[2] not in self.help and len(word) == 4 and word[3], line
                closed.add(family)
                family = word[2]
                self.help[family] = word[3]
            elif word[:2] == ["#", "TYPE"]:
                assert word[2] == family and family not in self.kinds and word[3] in ENDINGS, line
                self.kinds[family] = word[3]
            else:
                self._sample(line, family)
                assert family not in closed
        assert set(self.kinds) == set(self.help)
        self._histograms()

    def _sample(self, line, family):
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, labels, value = found[1], found[2] or "", found[3]
        assert any(name == family + end for end in ENDINGS[self.kinds[family]]), line
        assert name + labels not in self.samples, line
        self.samples[name + labels] = float(value)

    def _histograms(self):
        for name in (name for name, kind in self.kinds.items() if kind == "histogram"):
            buckets = [(key, value) for key, value in self.samples.items() if key.startswith(name + "_bucket{")]
            assert [value for _, value in buckets] == sorted(value for _, value in buckets)
            bounds = [float(re.search('le="([^"]+)"', key)[1]) for key, _ in buckets]
            assert bounds == sorted(bounds) and bounds[-1] == float("inf")
            assert buckets[-1][1] == self.samples[name + "_count"]

    def __getitem__(self, name):
        return self.samples[name]

    def names(self):
        return {name + end for name, kind in self.kinds.items() for end in ENDINGS[kind]}


def scrape(node):
    reply = http.once(node.status_address, "/metrics")
    assert reply.status == 200 and reply.headers["content-type"].startswith("text/plain")
    return Scrape(reply.text)


def sync_of(data):
    return http.once(data.status_address, "/status").json["sync"]


def until(node, name, value, timeout=10.0):
    """The agent writes what it knows once a second."""
    def reached():
        found = scrape(node)
        return found if found.samples.get(name) == value else None
    return wait_until(reached, timeout, f"{name} {value}", every=0.05)


def load(admin, count, tag):
    made = []
    for at in range(0, count, 500):
        made += admin.transaction([{"op": "create", "type": "consumers", "body": {"username": f"{tag}-{n}"}}
                                   for n in range(at, min(at + 500, count))])
    return made


@pytest.fixture(scope="module")
def pairing(module_nodes):
    """Both planes with every setting that adds metrics, and a change that has gone its way."""
    control = module_nodes.control(metrics_data_planes="on")
    data = module_nodes.data(control.cluster_address)
    data.wait_ready()
    control.admin.put("/consumers/first")
    until(data, "weir_config_version", scrape(control)["weir_store_version"])
    until(data, "weir_agent_digest_known", 1)
    return control, data


# -- what moves them --------------------------------------------------------------------------


def test_changes_move_the_counters_of_both_planes(pairing):
    control, data = pairing
    before, mine = scrape(control), scrape(data)
    for n in range(5):
        control.admin.post("/consumers", username=f"moved-{n}")
    version = before["weir_store_version"] + 5
    until(data, "weir_config_version", version)
    after = until(control, "weir_data_planes_lagging", 0)
    assert after["weir_store_version"] == version
    assert after["weir_store_log_entries"] == before["weir_store_log_entries"] + 5
    assert after['weir_store_entities{type="consumers"}'] == before['weir_store_entities{type="consumers"}'] + 5
    assert after["weir_store_writes_total"] >= before["weir_store_writes_total"] + 5
    assert 1 <= after["weir_store_commits_total"] - before["weir_store_commits_total"] <= \
        after["weir_store_writes_total"] - before["weir_store_writes_total"]
    assert after["weir_encoder_deltas_total"] == before["weir_encoder_deltas_total"] + 5
    assert after["weir_encoder_delta_bytes_total"] > before["weir_encoder_delta_bytes_total"]
    acks = after["weir_sync_acks_total"] - before["weir_sync_acks_total"]
    assert 1 <= acks <= 5
    assert after["weir_change_applied_seconds_count"] - before["weir_change_applied_seconds_count"] == acks
    for name in ("weir_cluster_received_bytes_total", "weir_cluster_sent_bytes_total",
                 "weir_cluster_received_messages_total", "weir_cluster_sent_messages_total"):
        assert after[name] > before[name]
    assert after['weir_cluster_sessions{protocol="weir.sync.v1"}'] == 1
    assert after["weir_data_planes_connected"] == after["weir_data_planes_compared"] == 1
    assert after["weir_data_planes_differing"] == after["weir_sync_digest_mismatches_total"] == 0
    for lane in ("increment", "full"):
        assert after[f'weir_encoder_waiting{{lane="{lane}"}}'] == 0

    now = until(data, "weir_agent_deltas_total", mine["weir_agent_deltas_total"] + 5)
    batches = now["weir_agent_batches_total"] - mine["weir_agent_batches_total"]
    assert batches == acks
    assert now["weir_agent_apply_seconds_count"] - mine["weir_agent_apply_seconds_count"] == batches
    assert now["weir_agent_apply_seconds_sum"] > mine["weir_agent_apply_seconds_sum"]
    assert now["weir_config_entities"] == mine["weir_config_entities"] + 5
    assert now["weir_agent_received_bytes_total"] > mine["weir_agent_received_bytes_total"]
    assert now["weir_agent_sent_bytes_total"] > mine["weir_agent_sent_bytes_total"]
    assert now["weir_agent_newest_version"] == version and now["weir_agent_lag_versions"] == 0
    assert 0 < now["weir_config_bytes"] < now["weir_config_map_bytes"]
    assert now["weir_agent_up"] == now["weir_agent_connected"] == now["weir_agent_digest_known"] == 1
    assert now["weir_agent_digest_differs"] == 0
    for process in ("worker", "agent"):
        assert now[f'weir_process_private_bytes{{process="{process}"}}'] > 0
        assert now[f'weir_process_cpu_seconds_total{{process="{process}"}}'] >= 0


def test_each_data_plane_has_series_only_when_that_is_asked_for(pairing, nodes):
    control, data = pairing
    found = scrape(control)
    labels = next(key for key in found.samples if key.startswith("weir_data_plane_version{"))[len("weir_data_plane_version"):]
    assert f'node_id="{data.node_id()}"' in labels and 'hostname="' in labels
    assert found["weir_data_plane_version" + labels] == found["weir_store_version"]
    assert found["weir_data_plane_connected" + labels] == found["weir_data_plane_digest_equal" + labels] == 1
    assert found["weir_data_plane_lag_versions" + labels] == 0
    assert not [name for name in scrape(nodes.control()).kinds if name.startswith("weir_data_plane_")]


@pytest.mark.sanitized
def test_what_is_healed_is_counted_at_both_ends_and_shown(nodes):
    control = nodes.control(**SMALL)
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    consumers = load(control.admin, 100, "heal")
    stored = sum(value for key, value in scrape(control).samples.items() if key.startswith("weir_store_entities{"))
    assert stored > 100
    until(data, "weir_config_entities", stored)
    until(control, "weir_data_planes_compared", 1)
    data.stop()
    for n in (3, 4):
        subprocess.run([BUILD / "tests/tools/weir-image-edit", data.prefix / "image", "delete", "consumers",
                        consumers[n]["id"]], check=True, timeout=20)
    data.start()
    mine = until(data, "weir_agent_heals_total", 1, timeout=20)
    assert mine["weir_agent_healed_entities_total"] == 2
    assert mine["weir_agent_digest_mismatches_total"] == 1 and mine["weir_agent_digest_differs"] == 0
    theirs = until(control, "weir_sync_heals_total", 1)
    assert theirs["weir_sync_healed_entities_total"] == 2 and theirs["weir_sync_digest_mismatches_total"] == 1
    assert theirs['weir_encoder_answers_total{kind="heal"}'] == 1 and theirs["weir_data_planes_differing"] == 0
    sync = sync_of(data)
    assert sync["digest_equal"] is True and sync["last_heal"]["entities"] == 2 and sync["digest_mismatches"] == 1
    shown = data.sync_status()
    assert re.search(r"^healed +2 entities$", shown, re.MULTILINE) and "last heal" in shown


@pytest.mark.sanitized
def test_the_progress_of_a_full_sync_is_shown(nodes):
    control = nodes.control(**SMALL)
    count = len(load(control.admin, 4000, "page"))
    relay = Relay(ports.free(), control.cluster_address)
    relay.slow(12000)
    data = nodes.data(("127.0.0.1", relay.port))

    def halfway():
        found = scrape(data)
        some = 0 < found.samples.get("weir_agent_full_sync_entities", 0) < count
        return found if some else None
    found = wait_until(halfway, 20, "some pages")
    assert found["weir_agent_full_sync_running"] == 1 and found["weir_config_complete"] == 0
    assert found["weir_agent_full_sync_expected_entities"] >= count
    assert re.search(rf"^full sync +\d+ of {found['weir_agent_full_sync_expected_entities']:.0f} entities \(\d+ %\)$",
                     data.sync_status(), re.MULTILINE)
    full = sync_of(data)["full_sync"]
    assert 0 < full["entities"] < full["expected"] and full["snapshot"] == scrape(control)["weir_store_version"]
    relay.calm()
    data.wait_ready(60)
    found = until(data, 'weir_agent_full_syncs_total{reason="first"}', 1)
    assert found["weir_agent_full_sync_running"] == 0 and found["weir_agent_last_full_sync_seconds"] > 0
    assert sync_of(data)["full_sync"] is None
    assert not re.search("^full sync", data.sync_status(), re.MULTILINE)
    theirs = scrape(control)
    assert theirs['weir_encoder_snapshots_total{reason="unknown"}'] == 1
    assert theirs['weir_encoder_answers_total{kind="page"}'] > 10
    relay.close()


def test_the_progress_is_known_after_a_kill_of_the_agent(nodes):
    control = nodes.control(**SMALL)
    count = len(load(control.admin, 4000, "page"))
    relay = Relay(ports.free(), control.cluster_address)
    relay.slow(12000)
    data = nodes.data(("127.0.0.1", relay.port))

    def progress(other_than=None):
        full = sync_of(data).get("full_sync") or {}
        pid = json.loads((data.prefix / "agent.json").read_text())["pid"]
        return (pid, full) if pid != other_than and 0 < full.get("entities", 0) < count else None
    pid, before = wait_until(progress, 20, "some pages")
    data.kill("agent")
    _, after = wait_until(lambda: progress(other_than=pid), 20, "the next agent goes on")
    assert after["snapshot"] == before["snapshot"] and after["entities"] >= before["entities"]
    assert after["expected"] == before["expected"] >= count
    shown = data.sync_status()
    assert re.search(rf"^full sync +\d+ of {after['expected']} entities", shown, re.MULTILINE)
    news = re.search(r"^agent +running \(pid \d+\), its last news are (\d+\.\d) s old$", shown, re.MULTILINE)
    written_ms = sync_of(data)["written_ms"]
    assert float(news[1]) < 60 and abs(written_ms / 1000 - time.time()) < 60
    relay.calm()
    data.wait_ready(60)
    relay.close()


def test_why_a_set_came_whole_is_counted(nodes):
    control = nodes.control(cluster_sync_log_entries=20, **SMALL)
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    until(data, 'weir_agent_full_syncs_total{reason="first"}', 1)
    data.stop()
    load(control.admin, 300, "behind")
    for n in range(30):
        control.admin.post("/consumers", username=f"late-{n}")
    data.start()
    until(data, 'weir_agent_full_syncs_total{reason="behind"}', 1, timeout=20)
    found = until(control, "weir_data_planes_lagging", 0)
    assert found['weir_encoder_snapshots_total{reason="behind"}'] == 1
    assert found["weir_store_log_floor_version"] > 0 and found["weir_store_log_entries"] < 330


def test_an_agent_that_is_gone_is_not_connected(nodes):
    control = nodes.control()
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    until(data, "weir_agent_connected", 1)
    supervisor = data.pid("supervisor")
    data.kill("supervisor", "agent")
    wait_until(lambda: data.pid("agent") is None and data.pid("supervisor") is None, what=f"the end of {supervisor}")
    found = scrape(data)
    assert found["weir_agent_up"] == found["weir_agent_connected"] == 0
    assert found["weir_config_complete"] == 1  # it serves on
    assert sync_of(data)["agent"] is False and sync_of(data)["connected"] is False


def test_a_control_plane_that_is_away_shows_as_not_connected(nodes):
    control = nodes.control()
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    control.admin.put("/consumers/x")
    found = until(data, "weir_agent_connected", 1)
    assert abs(found["weir_agent_last_contact_timestamp_seconds"] - found["weir_config_committed_timestamp_seconds"]) < 60
    control.stop()
    until(data, "weir_agent_connected", 0)
    assert sync_of(data)["protocol"] is None and sync_of(data)["last_error"]


def test_a_classic_push_shows_as_what_it_is(nodes):
    control = nodes.control(db_update_frequency="0.2")
    data = nodes.data(control.cluster_address, cluster_rpc_sync="off")
    data.wait_ready()
    found = until(data, 'weir_agent_full_syncs_total{reason="first"}', 1)
    assert found["weir_agent_lag_versions"] == found["weir_agent_digest_known"] == 0
    assert sync_of(data)["protocol"] == "classic"
    theirs = scrape(control)
    assert theirs['weir_cluster_sessions{protocol="classic"}'] == 1
    assert theirs['weir_cluster_sessions{protocol="weir.sync.v1"}'] == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"lag": "x", "pid": 1, "applies": {"buckets": [1, null]}}',
                                     "x" * 300000])
def test_whatever_lies_where_the_agent_reports_is_survived(pairing, content):
    _, data = pairing
    data.kill("agent", number=19)  # SIGSTOP: it writes nothing now
    report = data.prefix / "agent.json"
    said = report.read_bytes()
    try:
        report.write_text(content)
        assert scrape(data)["weir_agent_up"] == 0
        assert http.once(data.status_address, "/status").json["sync"]["connected"] is False
        assert "version" in data.sync_status()
    finally:
        report.write_bytes(said)
        data.kill("agent", number=18)


# -- what is built on them -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(pairing):
    """Kind by name of every metric of either plane."""
    control, data = pairing
    return {**scrape(control).kinds, **scrape(data).kinds}


FUNCTIONS = {"rate", "increase", "sum", "max", "min", "by", "on", "time", "histogram_quantile", "clamp_min",
             "instance", "job", "le", "and", "or", "unless", "without", "label_values", "changes"}


def metrics_of(expression):
    """Names in a PromQL expression: neither functions, nor labels in braces, nor durations."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', "", expression)
    bare = re.sub(r"\b(by|on|without)\s*\([^)]*\)", "", bare)
    return {name for name in NAME.findall(bare) if name not in FUNCTIONS}


def check(expression, known, where):
    names = {name + end: (name, kind) for name, kind in known.items() for end in ENDINGS[kind]}
    used = metrics_of(expression)
    assert used, where
    for name in used:
        assert name in names, f"{where}: there is no metric {name}"
    for name in re.findall(rf"\b(?:rate|increase)\(({NAME.pattern})", expression):
        assert names[name][1] in ("counter", "histogram"), f"{where}: rate of {name}, a {names[name][1]}"
    return used


def labels_exist(expression, scrapes, where):
    """Label values that an expression selects by are among those of the scrape."""
    for name, inner in re.findall(rf"({NAME.pattern})\{{([^}}]*)\}}", expression):
        for label, value in re.findall(r'(\w+)="([^"$]*)"', inner):
            assert any(key.startswith(name + "{") and f'{label}="{value}"' in key
                       for found in scrapes for key in found.samples), f"{where}: no {name}{{{label}=\"{value}\"}}"


def test_the_dashboard_refers_only_to_metrics_that_exist(pairing, known):
    board = json.loads((ROOT / "packaging/grafana/weir.json").read_text())
    scrapes = [scrape(node) for node in pairing]
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    used = set()
    for panel in panels:
        assert panel["title"] and panel["targets"], panel
        for target in panel["targets"]:
            used |= check(target["expr"], known, panel["title"])
            labels_exist(target["expr"], scrapes, panel["title"])
    assert len(used) > 40
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), \w+\)", variable["query"])
            assert found and found[1] in known


def test_the_alerts_refer_only_to_metrics_that_exist(pairing, known):
    rules = yaml.safe_load((ROOT / "packaging/prometheus/weir-alerts.yml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({alert["alert"] for alert in alerts}) == len(alerts) >= 6
    scrapes = [scrape(node) for node in pairing]
    for alert in alerts:
        assert set(alert) == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smh]", alert["for"]) and alert["labels"]["severity"] in ("warning", "critical")
        assert alert["annotations"]["summary"] and alert["annotations"]["description"]
        check(alert["expr"], known, alert["alert"])
        labels_exist(alert["expr"], scrapes, alert["alert"])


def test_every_metric_is_documented_with_its_kind(known):
    text = (ROOT / "docs/observability.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)(?:\{[^`]*\})?` \| (counter|gauge|histogram) \| \S.* \|$", text, re.MULTILINE)
    assert len({name for name, _ in rows}) == len(rows)
    assert dict(rows) == known


def test_a_wrong_name_would_be_noticed(known):
    with pytest.raises(AssertionError, match="no metric weir_no_such_total"):
        check('sum by (le) (rate(weir_no_such_total{job="x"}[5m]))', known, "x")
    with pytest.raises(AssertionError, match="a gauge"):
        check("rate(weir_config_version[5m])", known, "x")
    for text in ("weir_x 1", "# HELP a b\n# TYPE a gauge\na{b=\"c\"d} 1\n", "# HELP a b\n# TYPE a gauge\na 1\na 2\n"):
        with pytest.raises((AssertionError, KeyError)):
            Scrape(text)


# -- the version of an answer --------------------------------------------------------------------


def test_a_confirmed_write_is_in_the_version_that_answers_say(nodes):
    control = nodes.control()
    data = nodes.data(control.cluster_address, config_version_header="on")
    other = nodes.data(control.cluster_address, name="silent")
    upstream = nodes.upstream()
    for plane in (data, other):
        plane.wait_ready()
    control.admin.post("/services", name="s", url=upstream.url)
    path, seen = "/same.", []
    for n in range(15):
        if n % 3 == 0:  # routing changes; else the line is remembered and only the version moves
            reply = control.admin.request("PUT", "/services/s/routes/r?wait_for=all",
                                          {"paths": [path], "tags": [f"t{n}"]})
        else:
            reply = control.admin.request("PUT", f"/consumers/c{n}?wait_for=all", {})
        assert reply.headers["weir-confirmed"] == "true", reply
        for _ in range(4):  # of either worker
            answer = data.get(path)
            assert answer.status == 200
            assert int(answer.headers["weir-config-version"]) >= int(reply.headers["weir-version"])
        seen.append(int(answer.headers["weir-config-version"]))
    assert seen == sorted(seen) and len(set(seen)) == 15
    missing = data.get("/missing.")
    assert missing.status == 404 and int(missing.headers["weir-config-version"]) == seen[-1]
    assert "weir-config-version" not in other.get(path).headers
