"""Replays what a control plane said in a recording to our data plane, and compares what it does."""

import json
import re
import ssl
import threading
import time

from . import http, websocket
from .recording import default_of, entities_of, is_full, method_of
from .wire import SYNC, ControlPlane, items, number

RECORDED_PORT = re.compile(r"\b2408([01])\b")


class ScriptedPlane(ControlPlane):
    """A control plane that answers get_delta only as the script says."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.scripted = False
        self.waiting = []  # (session, message): get_delta without an answer yet
        self.odd = self._ask

    def _ask(self, session, message):
        if not self.scripted:
            return NotImplemented
        with self.change:
            self.waiting.append((session, message))
            self.change.notify_all()
        return None

    def release(self):
        """Answers what the script left open, and everything to come, correctly."""
        with self.change:
            self.scripted = False
            waiting, self.waiting = self.waiting, []
        for session, message in waiting:
            try:
                session.send({"jsonrpc": "2.0", "id": message["id"], "result":
                              self.delta_answer(message["params"][0]["default"]["version"])})
            except (websocket.Closed, OSError):
                pass


class DataReplay:
    """One data plane of ours (`node`) that believes `plane`, kept for all recordings of a dialect."""

    def __init__(self, node, plane, catalog, start, upstreams):
        self.node, self.plane, self.catalog = node, plane, catalog
        self.start = start  # {(type, id): entity} that every recording has at its beginning
        self.upstreams = upstreams
        self.top = 1 << 40

    def local(self, value):
        """With the ports of our upstreams for those of the recording."""
        text = json.dumps(value)
        return json.loads(RECORDED_PORT.sub(lambda m: str(self.upstreams[int(m[1])].port), text))

    def base_version(self, recording):
        for line in recording.lines:
            if line.get("dir") == "dp>cp" and method_of(line) == SYNC + ".get_delta":
                version = line["json"]["params"][0]["default"]["version"]
                return number(version)
            if line.get("dir") == "cp>dp" and method_of(line) == SYNC + ".notify_new_version":
                default = (line["json"]["params"][0] or {}).get("default") or {}
                if number(default.get("new_version") if not isinstance(
                        default.get("new_version"), bool) else 0) > 1:
                    continue
        return 5

    def seed(self, recording):
        """What the data plane held: the start set, and what the recording changes or refers to."""
        keys = list(self.start)
        created = set()
        for line in recording.lines:
            default = default_of(line)
            if default and line.get("dir") == "cp>dp" and not is_full(default):
                for delta in items(default["deltas"]):
                    entity = delta.get("entity")
                    named = entity if isinstance(entity, dict) else delta.get("pk") or {}
                    key = (delta.get("type"), named.get("id"))
                    if isinstance(entity, dict):
                        created.add(key)
                        for field in ("service", "route", "consumer", "certificate", "upstream"):
                            parent = entity.get(field)
                            if isinstance(parent, dict):
                                keys.append((field + "s", parent.get("id")))
                    elif key not in created:
                        keys.append(key)
        for line in recording.lines:
            if "tls" in line:
                keys += [("snis", i) for (kind, name), i in self.catalog.ids.items()
                         if kind == "snis" and name == line["tls"]]
                break
        return self.catalog.closure([k for k in keys if k not in created or k in self.start])

    def prepare(self, recording):
        plane = self.plane
        plane.release()
        version = self.base_version(recording)
        with plane.change:
            plane.entities = self.local_entities(self.seed(recording))
            plane.version, plane.floor, plane.deltas = version, version, []
            self.top += 1
        plane.wait(lambda: plane.sessions, 20, "a connection of the data plane")
        before = len(plane.calls)
        plane.notify(self.top)

        def applied():
            return any(number((m["params"] or [{}])[0].get("default", {}).get("version")) == version
                       for _, m in plane.calls[before:] if m["method"] == SYNC + ".get_delta")

        try:
            plane.wait(applied, 8, f"a data plane that went back to version {version}")
        except TimeoutError as error:
            return [f"preparing: {error}"]
        time.sleep(0.1)
        return []

    def local_entities(self, entities):
        return {key: self.local(entity) for key, entity in entities.items()}

    def forget(self):
        """The data plane starts anew, with nothing."""
        self.plane.scripted = True
        self.node.stop()
        for session in list(self.plane.sessions):
            session.drop()
        self.plane.waiting.clear()
        for path in (self.node.prefix / "image").iterdir():
            path.unlink()

    def run(self, recording):
        if not recording.name.endswith("dp-start"):
            return self.prepare(recording) + self.play(Run(self, recording))
        self.forget()
        run = Run(self, recording)
        # The command waits for a first set, which the script gives.
        starting = threading.Thread(target=self.node.start)
        starting.start()
        try:
            return self.play(run)
        finally:
            starting.join(30)

    def play(self, run):
        self.plane.scripted = True
        try:
            run.play()
        finally:
            self.plane.release()
        return run.found


class Run:
    def __init__(self, replay, recording):
        self.replay, self.recording, self.plane = replay, recording, replay.plane
        self.found = []
        self.ids = {}  # recorded id of a get_delta -> (session, actual id)
        self.reported = None
        self.mark = len(self.plane.log)
        self.held = dict(self.plane.entities)
        self.patience = 1.0  # after something that did not come, the rest is not waited for as long

    def say(self, text):
        self.found.append(text)

    def session(self):
        self.plane.wait(lambda: self.plane.sessions, 15, "a connection of the data plane")
        return self.plane.sessions[-1]

    def play(self):
        last = 0.0
        if self.recording.name.endswith("tcp-reset"):
            self.session().drop()
        for index, line in enumerate(self.recording.lines):
            self.pause, last = line["t"] - last, line["t"]
            try:
                self.step(line, self.recording.lines[index + 1 :])
            except (TimeoutError, websocket.Closed, OSError) as error:
                self.patience = 0.1
                self.say(f"t={line['t']}: {str(error)[:300]}")

    def step(self, line, rest):
        if "proxy" in line:
            self.proxy(line)
        elif "tls" in line:
            self.tls(line)
        elif line.get("dir") == "cp>dp":
            self.send(line)
        elif line.get("dir") == "dp>cp":
            self.expect(line, rest)

    # -- what the control plane says ------------------------------------------------------------

    def send(self, line):
        if line.get("enc") == "plain" and line["op"] == "binary":
            return  # the answer to hello: given by the plane itself
        if self.recording.name.endswith("-late") and self.pause > 0.5:
            time.sleep(self.pause)
        message = line.get("json")
        if line["op"] == "binary" and line.get("enc") == "snappy":
            message = self.replay.local(message)
            default = default_of({"json": message})
            if isinstance(message, dict) and "method" not in message and message["id"] in self.ids:
                session, actual = self.ids.pop(message["id"])
                if default:
                    self.apply(default)
                session.send(dict(message, id=actual))
            elif isinstance(message, list) or "method" in message or not self.asked(message["id"]):
                self.session().send(message)
            return
        opcode = {v: k for k, v in websocket.NAMES.items()}[line["op"]]
        payload = bytes.fromhex(line.get("hex", ""))
        if message is not None:
            payload = json.dumps(message).encode()
        self.session().send_frame(opcode, payload, message)

    def asked(self, ident):
        """Whether the recorded data plane made a call with this id."""
        return any(x.get("dir") == "dp>cp" and method_of(x) and x["json"].get("id") == ident
                   for x in self.recording.lines)

    def apply(self, default):
        if is_full(default):
            self.held = entities_of(default)
            return
        for delta in items(default["deltas"]):
            entity = delta.get("entity")
            key = (delta.get("type"), ((entity if isinstance(entity, dict) else None)
                                       or delta.get("pk") or {}).get("id"))
            if entity:
                self.held[key] = entity
            else:
                self.held.pop(key, None)

    # -- what the data plane does --------------------------------------------------------------

    def expect(self, line, rest):
        message = line.get("json")
        if line["op"] in ("close", "pong"):
            self.frame(line["op"])
        elif line.get("enc") == "plain":
            self.greeting()
        elif isinstance(message, dict) and message.get("method") == SYNC + ".get_delta":
            if "id" in message:
                self.get_delta(message, rest)
        elif isinstance(message, dict) and "method" in message:
            self.notification(message)
        else:
            self.answer(message)

    def received(self, fits, timeout, what):
        """The first message of the data plane since the mark that fits; it is taken."""
        taken = []

        def find():
            for index in range(self.mark, len(self.plane.log)):
                entry = self.plane.log[index]
                if not entry.sent and fits(entry):
                    taken.append(entry)
                    return True
            return False

        self.plane.wait(find, timeout, what)
        return taken[0]

    def frame(self, name):
        opcode = {v: k for k, v in websocket.NAMES.items()}[name]
        self.received(lambda e: e.opcode == opcode, 3, f"a {name} frame")
        if name == "close":
            self.plane.wait(lambda: True, 1)

    def greeting(self):
        entry = self.received(
            lambda e: isinstance(e.json, dict) and e.json.get("method") == "kong.meta.v1.hello",
            15, "a new connection with a hello")
        hello = entry.json["params"][0]
        if SYNC not in hello["rpc_capabilities"] or "x-snappy-framed" not in hello[
                "rpc_frame_encodings"] or not isinstance(hello["kong_conf"], dict):
            self.say(f"hello: {str(hello)[:300]}")
        if entry.json.get("id") != 1 or "kong_hostname" not in hello:
            self.say("hello: id is not 1, or kong_hostname is missing")

    def answer(self, wanted):
        first = wanted[0] if isinstance(wanted, list) else wanted

        def fits(entry):
            got = entry.json
            if isinstance(got, list) != isinstance(wanted, list) or not got:
                return False
            got = got[0] if isinstance(got, list) else got
            return "method" not in got and got.get("id") == first.get("id")

        got = self.received(fits, 3, f"the answer {wanted}").json
        got = got[0] if isinstance(got, list) else got
        for name in ("result", "error"):
            if got.get(name) != first.get(name):
                self.say(f"answer {first.get('id')}: {name}: wanted {first.get(name)!r}, "
                         f"is {got.get(name)!r}")

    def get_delta(self, wanted, rest):
        version = wanted["params"][0]["default"]["version"]
        plane = self.plane
        answer = next((default_of(x) for x in rest if x.get("dir") == "cp>dp" and isinstance(
            x.get("json"), dict) and x["json"].get("id") == wanted["id"]), None)
        # The recorded end asks a second time to report; how ours reports may differ.
        only_report = answer is not None and not items(answer.get("deltas", []))
        try:
            plane.wait(self.asking, (0.3 if only_report else 3) * self.patience,
                       f"get_delta from {version}")
        except TimeoutError:
            if not only_report:
                raise
            return
        session, message = plane.waiting.pop(0)
        got = message["params"][0]["default"]["version"]
        if got != version and not (number(got) == 0 and number(version) == 0):
            self.say(f"get_delta from {got!r}, wanted {version!r}")
        self.ids[wanted["id"]] = (session, message["id"])

    def asking(self):
        """Whether somebody who is still there waits for an answer."""
        self.plane.waiting[:] = [entry for entry in self.plane.waiting if entry[0].open]
        return bool(self.plane.waiting)

    def notification(self, wanted):
        def fits(entry):
            return isinstance(entry.json, dict) and entry.json.get("method") == wanted["method"]

        entry = self.received(fits, 2 * self.patience, wanted["method"])
        want, got = wanted["params"][0], entry.json["params"][0]
        for name in ("code", "name"):
            if "error" in want and got.get("error", {}).get(name) != want["error"][name]:
                self.say(f"{wanted['method']}: error.{name}: {got.get('error', {}).get(name)!r}")

    # -- what it serves --------------------------------------------------------------------------

    def proxy(self, line):
        path = line["proxy"].split()[1]
        wanted = line["status"]
        answer = self.replay.local(line["answer"]) if "answer" in line else None

        def fits(reply):
            if reply.status != wanted:
                return False
            if isinstance(answer, dict) and "path" in answer:
                return reply.status == 200 and all(reply.json.get(k) == v for k, v in answer.items())
            return not isinstance(answer, dict) or reply.json.get("message") in messages

        messages = [answer.get("message")] if isinstance(answer, dict) else []
        if "failure to get a peer from the ring-balancer" in messages and not any(
                kind == "upstreams" for kind, _ in self.held):
            # The recording shows the 20 ms in which the reference still had what was deleted; here its
            # name is looked up from the next request on, which may be this one.
            messages.append("name resolution failed")
        try:
            http.poll(self.replay.node.proxy_address, path, fits, 3 * self.patience, every=0.02,
                      headers=line.get("headers"))
        except AssertionError as error:
            self.patience = 0.3
            self.say(f"t={line['t']}: {line['proxy']}: wanted {wanted} {answer or ''}: "
                     f"{str(error)[:200]}")

    def tls(self, line):
        wanted = self.certificate(line["tls"])
        deadline = time.monotonic() + 3
        while True:
            got = http.peer_certificate(self.replay.node.tls_address, line["tls"])
            if wanted is not None and got == wanted or wanted is None and got not in self.others():
                return
            if time.monotonic() > deadline:
                self.say(f"t={line['t']}: TLS with SNI {line['tls']}: not the right certificate")
                return
            time.sleep(0.02)

    def others(self):
        return [ssl.PEM_cert_to_DER_cert(e["cert"]) for (k, _), e in self.held.items()
                if k == "certificates"]

    def certificate(self, name):
        names = {e["name"]: e["certificate"]["id"] for (k, _), e in self.held.items() if k == "snis"}
        ident = names.get(name) or names.get("*." + name.split(".", 1)[1])
        entity = self.held.get(("certificates", ident))
        return ssl.PEM_cert_to_DER_cert(entity["cert"].strip()) if entity else None
