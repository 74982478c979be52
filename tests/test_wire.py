"""The recorded exchanges of hybrid mode, replayed against both of our planes."""

import threading
from pathlib import Path

import pytest
import wire_replay
from weir import gaps
from weir.node import built

GAPS = gaps.read(Path(__file__).parent / "corpus" / "gaps-wire.txt")
THERE = (wire_replay.CORPUS / "wire").is_dir()
RECORDINGS = wire_replay.recordings() if THERE else {}
LONG = [name for name in RECORDINGS if "keepalive" in name]  # more than 50 s of silence each
SLOW = {"v1-dp-idle"}  # 30 s
SHORT = [name for name in RECORDINGS if name not in LONG]

pytestmark = [
    pytest.mark.skipif(not THERE, reason="no corpus: WEIR_CORPUS names its folder"),
    pytest.mark.skipif(not built(), reason="no binaries: build first, or set WEIR_BUILD"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    made = wire_replay.Bench(tmp_path_factory.mktemp("wire"), RECORDINGS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def silence(bench):
    """The replays that wait most of the time run beside the others, on a control plane of theirs."""
    results, threads = {}, []
    if LONG:
        replay = bench.control("3.9", name="cp-idle")

        def run(name):
            try:
                results[name] = wire_replay.ControlReplay.run(replay, RECORDINGS[name])
            except Exception as error:  # noqa: BLE001: a thread must tell what ended it
                results[name] = [repr(error)]

        replay.state = set()
        replay.prepare = lambda recording: []
        threads = [threading.Thread(target=run, args=(name,), daemon=True) for name in LONG]
        for thread in threads:
            thread.start()
    return results, threads


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SHORT])
def test_recorded_exchange(name, bench, silence):
    reason = wire_replay.skipped(name, RECORDINGS[name])
    if reason:
        pytest.skip(reason)
    gaps.judge(name, bench.replay(RECORDINGS[name]), GAPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_recorded_silence(name, silence):
    results, threads = silence
    for thread in threads:
        thread.join(120)
    gaps.judge(name, results.get(name, ["it did not end within 120 s"]), GAPS)


def test_every_gap_is_the_name_of_a_recording():
    assert set(GAPS) <= set(RECORDINGS)

