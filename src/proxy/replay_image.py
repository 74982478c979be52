#!/usr/bin/env python3
"""A data plane without a control plane, for tests and measurements.

Starts the stock nginx with our module in a temporary prefix and an Admin API
that knows GET / and POST /config: the configuration goes straight into the image
(image-load). So the recorded cases judge the proxy alone:

    replay_image.py --build DIR [--set name=value ...] -- \\
        replay_proxy.py --admin {admin} --proxy {proxy} --proxy-tls {proxy_tls} routing/*.jsonl

Without a command it runs until it is interrupted.
"""
import argparse
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time


class Node:
    def __init__(self, build, prefix, port, settings, workers, preload):
        self.build, self.prefix, self.version = pathlib.Path(build), pathlib.Path(prefix), 0
        self.port, self.process = port, None
        self.settings = {"role": "data_plane", "prefix": prefix,
                         "proxy_listen": f"0.0.0.0:{port}, 0.0.0.0:{port + 1} ssl http2",
                         "proxy_access_log": "off", "log_level": "notice",
                         "ssl_cert": f"{prefix}/ssl/default.crt", "ssl_cert_key": f"{prefix}/ssl/default.key",
                         "cluster_cert": f"{prefix}/ssl/default.crt",
                         "cluster_cert_key": f"{prefix}/ssl/default.key", **settings}
        self.workers, self.preload = workers, preload

    def start(self):
        for folder in ("logs", "ssl", "image", "tmp"):
            (self.prefix / folder).mkdir(exist_ok=True)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-subj", "/CN=localhost", "-days", "30", "-keyout", self.settings["ssl_cert_key"],
                        "-out", self.settings["ssl_cert"]], check=True, capture_output=True)
        (self.prefix / "weir.id").write_text("5a0e0a4e-7b6c-4f6e-9d7c-3f3f5a9d2c11")
        settings = self.prefix / "weir.settings"
        settings.write_text("".join(f"{k} = {v}\n" for k, v in self.settings.items()))
        http = subprocess.run([self.tool("proxy-conf"), settings], check=True, capture_output=True, text=True).stdout
        (self.prefix / "nginx.conf").write_text(f"""
load_module {self.build}/ngx_http_weir_module.so;
daemon off;
user {os.environ.get("USER", "root")};
pid nginx.pid;
worker_processes {self.workers};
error_log logs/error.log notice;
thread_pool weir threads=2;
events {{ worker_connections 4096; }}
http {{
    weir_settings "{settings}";
    access_log off;
    default_type '';
    server_tokens off;
    underscores_in_headers on;
{http}}}
""")
        environment = dict(os.environ)
        if self.preload:
            environment.update(LD_PRELOAD=self.preload, ASAN_OPTIONS="detect_leaks=0:detect_odr_violation=0")
        self.process = subprocess.Popen(["nginx", "-p", str(self.prefix), "-c", str(self.prefix / "nginx.conf")],
                                        env=environment)
        time.sleep(0.3)
        if self.process.poll() is not None:
            sys.exit("nginx did not start: " + (self.prefix / "logs/error.log").read_text())

    def tool(self, name):
        return str(self.build / "src/proxy" / name)

    def load(self, config):
        self.version += 1
        done = subprocess.run([self.tool("image-load"), str(self.prefix / "image"), str(self.version)],
                              input=json.dumps(config).encode(), capture_output=True)
        return done.returncode, done.stderr.decode()

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


class Admin(http.server.BaseHTTPRequestHandler):
    node, protocol_version = None, "HTTP/1.1"

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        lists = {"trusted_ips", "headers"}
        booleans = {"allow_debug_header"}
        shown = {k: [v.strip() for v in v.split(",")] if k in lists else v == "on" if k in booleans else v
                 for k, v in self.node.settings.items()}
        self.answer(200, {"configuration": {"router_flavor": "traditional_compatible", **shown}})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        code, said = self.node.load(json.loads(body))
        if said:
            print(said, end="", file=sys.stderr)
        self.answer(201 if code == 0 else 400, {"message": said})

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True, help="build directory")
    parser.add_argument("--port", type=int, default=24000, help="first of three ports: proxy, TLS, Admin API")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--preload", help="LD_PRELOAD of nginx: libasan.so, for a build with -Db_sanitize=address")
    parser.add_argument("--prefix", help="instead of a temporary folder")
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))   # so that nginx ends too
    with tempfile.TemporaryDirectory() as folder:
        node = Node(args.build, args.prefix or folder, args.port, dict(s.split("=", 1) for s in args.set),
                    args.workers, args.preload)
        Admin.node = node
        server = http.server.ThreadingHTTPServer(("127.0.0.1", args.port + 2), Admin)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        node.start()
        names = {"admin": f"http://127.0.0.1:{args.port + 2}", "proxy": f"127.0.0.1:{args.port}",
                 "proxy_tls": f"127.0.0.1:{args.port + 1}"}
        try:
            if args.command:
                return subprocess.run([word.format(**names) for word in args.command]).returncode
            print(*names.values())
            signal.pause()
        finally:
            node.stop()
            log = (node.prefix / "logs/error.log").read_text()
            print("".join(line + "\n" for line in log.splitlines()
                          if any(mark in line for mark in ("[alert]", "[crit]", "signal 11", "signal 6", "Sanitizer", "runtime error"))), end="")


if __name__ == "__main__":
    sys.exit(main())
