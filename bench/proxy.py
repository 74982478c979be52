#!/usr/bin/env python3
"""Proxying beside bare nginx: one route, 90,000 entities with one hot route, the same uniformly.

The worker under test has processor 0; wrk and the upstream share processor 1. Runs alternate between the
two, and the processor time of the worker for a request is steadier than requests a second."""

import re
import statistics
import subprocess
import time
from pathlib import Path

from common import (DATA, Pair, Report, Set, arguments, fill, precise_cpu_ns, say, upstream_counts,
                    upstream_nginx)
from weir import http, ports
from weir.node import children

WRK = ["taskset", "-c", "1", "wrk", "-t1", "-c50"]


def bare_nginx(folder, port, upstream):
    """What Weir is compared with: proxy_pass with keep-alive, nothing else."""
    folder = Path(folder)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; worker_cpu_affinity 01; pid {folder}/nginx.pid;
error_log {folder}/logs/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000;
    upstream up {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000; }}
    server {{ listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
                      proxy_set_header X-Forwarded-For $remote_addr; }} }}
}}
""")
    process = subprocess.Popen(["nginx", "-p", f"{folder}/", "-c", folder / "nginx.conf"],
                               stderr=subprocess.DEVNULL)
    http.poll(("127.0.0.1", port), "/", 200, 5)
    return process


def script(name, entities, hot):
    """A Lua script for wrk: ready-made requests in random order."""
    path = DATA / f"wrk-{name}.lua"
    numbers = "0" if hot else f"math.random(0, {entities.routes - 1})"
    path.write_text(f"""
local requests, count = {{}}, {1 if hot else 20000}
function init(args)
    math.randomseed(7)
    for i = 1, count do
        local n = {numbers}
        requests[i] = wrk.format("GET", "/r" .. n, {{ ["Host"] = "h" .. math.floor(n / 10) .. ".example" }})
    end
end
local at = 0
function request()
    at = at % count + 1
    return requests[at]
end
""")
    return path


def measure(port, lua, workers, upstream, seconds):
    """One run: requests a second, p99, time of the workers and upstream connections per request."""
    connects, asked = upstream_counts(upstream)
    used = precise_cpu_ns(workers)
    done = subprocess.run([*WRK, f"-d{seconds}s", "--latency", "-s", lua, f"http://127.0.0.1:{port}/"],
                          capture_output=True, text=True, check=True, timeout=seconds + 30)
    used = precise_cpu_ns(workers) - used
    connects2, asked2 = upstream_counts(upstream)
    count, took, unit = re.search(r"(\d+) requests in ([\d.]+)(s|m)", done.stdout).groups()
    requests, took = int(count), float(took) * {"s": 1, "m": 60}[unit]  # up to 0.1 s more than asked for
    slow = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
    scale = {"us": 0.001, "ms": 1, "s": 1000}[slow[2]]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    return {"rps": requests / took, "p99_ms": float(slow[1]) * scale, "cpu_us": used / requests / 1000,
            "connects": (connects2 - connects - 1) / requests, "reached": (asked2 - asked - 1) / requests,
            "bad": int(bad[1]) if bad else 0}


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def ratio(mine, theirs, key):
    """Of neighbours in time: what else the machine does changes more slowly than that."""
    return statistics.median(a[key] / b[key] for a, b in zip(mine, theirs))


def compare(report, label, pair, bare, lua, upstream, options, goal):
    workers = [w for w in pair.data.workers()]
    mine, theirs = [], []
    for _ in range(options.rounds):
        theirs.append(measure(bare["port"], lua, bare["workers"], upstream, options.seconds))
        mine.append(measure(pair.data.proxy_address[1], lua, workers, upstream, options.seconds))
    report.note(label, {"weir": mine, "bare": theirs})
    report.figure(f"{label}: bare nginx", median(theirs, "rps"), "1/s")
    report.figure(f"{label}: weir", median(mine, "rps"), "1/s")
    report.figure(f"{label}: bare nginx, worker per request", median(theirs, "cpu_us"), "us")
    report.figure(f"{label}: weir, worker per request", median(mine, "cpu_us"), "us")
    report.figure(f"{label}: weir / bare, requests", ratio(mine, theirs, "rps"), "x", goal, ">=")
    report.figure(f"{label}: weir / bare, worker time", ratio(mine, theirs, "cpu_us"), "x")
    report.figure(f"{label}: weir, p99", median(mine, "p99_ms"), "ms")
    report.figure(f"{label}: upstream connections per 1,000 requests", median(mine, "connects") * 1000,
                  "", 1)
    report.figure(f"{label}: answers other than 2xx and 3xx", sum(r["bad"] for r in mine), "", 0)
    return median(mine, "cpu_us")


def main():
    options = arguments(__doc__, seconds=(int, 4, "a run"), rounds=(int, 7, "runs of each"))
    report = Report("proxy", options)
    processes = []
    with Pair(options.keep, nginx_worker_processes="1", proxy_access_log="off") as pair:
        try:
            upstream, port = ports.free(), ports.free()
            processes.append(upstream_nginx(DATA / "upstream", upstream, "10"))
            processes.append(bare_nginx(DATA / "bare", port, upstream))
            time.sleep(0.3)
            bare = {"port": port, "workers": children(processes[1].pid)}
            for worker in pair.data.workers():
                subprocess.run(["taskset", "-cp", "0", str(worker)], check=True, capture_output=True)
            one = Set(90, ("127.0.0.1", upstream))
            one.services = one.routes = one.plugins = 1
            one.consumers = one.keys = 0
            fill(pair.control, one)
            pair.wait_served("/r0", headers={"Host": "h0.example"})
            hot = script("hot", one, True)
            say("1 route")
            compare(report, "1 route", pair, bare, hot, upstream, options, 0.95)
            entities = Set(options.entities, ("127.0.0.1", upstream))
            fill(pair.control, entities)
            last = entities.routes - 1
            pair.wait_served(entities.path(last), headers={"Host": entities.host(last)})
            label = f"{entities.total:,} entities"
            say(label)
            first = compare(report, f"{label}, hot", pair, bare, hot, upstream, options, 0.95)
            spread = compare(report, f"{label}, uniform", pair, bare, script("uniform", entities, False),
                             upstream, options, 0.85)
            report.figure("uniform / hot, worker time", spread / first, "x")
        finally:
            for process in processes:
                process.terminate()
                process.wait(10)
    report.finish()


if __name__ == "__main__":
    main()
