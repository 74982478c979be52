#!/usr/bin/env python3
"""Makes docs/man/weir.1 from what the command says of itself: man.py build/weir > docs/man/weir.1"""
import re
import subprocess
import sys

COMMANDS = ["start", "stop", "quit", "restart", "reload", "health", "version", "check", "prepare",
            "migrations bootstrap", "migrations up", "migrations list", "migrations reset",
            "hybrid gen_cert", "sync status", "sync verify", "supervise"]


def ask(weir, *words):
    return subprocess.run([weir, *words, "--help"], capture_output=True, text=True, check=True).stdout


def roff(text):
    return text.replace("\\", "\\e").replace("-", "\\-").replace("\n.", "\n\\&.").replace("\n'", "\n\\&'")


def command_section(text):
    usage, summary, *rest = text.strip().split("\n\n", 2)
    words = roff(usage.removeprefix("usage: ").strip())
    yield f".SS {words}"
    yield roff(summary[0].upper() + summary[1:])
    for line in "\n".join(rest).splitlines():
        yield (".br\n" if line.startswith("Exit status") else "") + roff(line)


def settings(text):
    for name, initial, meaning in re.findall(r"^  (\S+) = (.*)\n      (.*)$", text, re.M):
        yield f".TP\n\\fB{roff(name)}\\fR" + (f" = {roff(initial)}" if initial else "")
        yield roff(meaning)


def main():
    weir = sys.argv[1]
    version = subprocess.run([weir, "version"], capture_output=True, text=True, check=True).stdout.strip()
    lines = [f'.TH WEIR 1 "" "{version}"', ".SH NAME", "weir \\- an API gateway for fleets", ".SH SYNOPSIS",
             "\\fBweir\\fR \\fICOMMAND\\fR [\\fIOPTIONS\\fR]", ".SH DESCRIPTION",
             "Starts, stops and inspects a node: a control plane with the Admin API and its database, a data",
             "plane that proxies traffic, or both in one. Everything that a node writes is under its prefix;",
             "nodes with different prefixes run side by side.", ".SH COMMANDS"]
    for command in COMMANDS:
        lines += command_section(ask(weir, *command.split()))
    lines += [".SH OPTIONS", ".nf"]
    overview = ask(weir)
    lines.append(roff(overview[overview.index("Options of"):overview.index("Each setting")].rstrip()))
    lines += [".fi", ".SH SETTINGS",
              "NAME = VALUE, one a line; # begins a comment, \\e# stands for it. Each can be given as WEIR_NAME,",
              "or else KONG_NAME, in the environment, which wins over the file. Defaults:"]
    lines += settings(ask(weir, "settings"))
    lines += [".TP\n\\fBnginx_\\fIBLOCK\\fB_\\fIDIRECTIVE\\fR",
              "Any directive of nginx in its block: main, events, http, proxy, admin, status.",
              ".SH EXIT STATUS", "0 done, 1 failed (the reason is on standard error), 2 wrong usage.",
              ".SH FILES", ".TP\nPREFIX/weir.settings\nThe effective settings.",
              ".TP\nPREFIX/nginx.conf\nWritten by each prepare, start and reload.",
              ".TP\nPREFIX/weir.db\nThe database of a control plane.",
              ".TP\nPREFIX/image/\nThe configuration that a data plane serves.",
              ".TP\nPREFIX/logs/\nsupervisor.log, error.log, agent.log, access logs.",
              ".TP\nPREFIX/pids/\nsupervisor.pid, nginx.pid, agent.pid.",
              ".TP\nPREFIX/ssl/\nCertificates and keys as files, whatever form the settings have them in.",
              ".TP\nPREFIX/weir.id\nThe UUID of the node.",
              ".SH USERS", "Started by root, the workers run as www-data (or nginx_user) if that user can reach the",
              "prefix, else as root; the nginx master and the agent run as root, and keys are readable for",
              "root only. Started by anybody else, all run as that user."]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
