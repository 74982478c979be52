"""A configuration that changes all the time: about a thousand entities a second, if the machine can."""

import threading


class Writer(threading.Thread):
    """Changes consumers, services and routes, and what `plugin(number)` adds, in batches.

    Each batch is one transaction. `done` counts entities; a failure is in `failure`."""

    BATCH = 50

    def __init__(self, control, changes, plugin=lambda number: []):
        super().__init__(daemon=True)
        self.admin, self.changes, self.plugin = control.client(), changes, plugin
        self.done, self.failure = 0, None

    def batch(self):
        number = self.done // self.BATCH
        operations = self.plugin(number)
        for n in range(self.BATCH - len(operations)):
            kind = ("consumers", "services", "routes")[n % 3]
            body = {"consumers": {"custom_id": f"{n}-{number}"},
                    "services": {"url": f"http://127.0.0.1:{1 + number % 60000}"},
                    "routes": {"paths": [f"/w{n}/{number}"], "service": {"name": f"w{n - 1}"}}}[kind]
            operations.append({"op": "upsert", "path": f"/{kind}/w{n}", "body": body})
        return {"operations": operations}

    def run(self):
        try:
            while self.done < self.changes:
                reply = self.admin.request("POST", "/transactions", self.batch())
                assert reply.status == 200, reply.text
                self.done += self.BATCH
        except Exception as failure:  # for the test to see
            self.failure = failure
        finally:
            self.admin.close()
