#!/usr/bin/env python3
"""What WebSocket costs the relay beside TLS: CPU for each message and octet, memory for each idle connection.

    cargo build --release -p msrpd -p loadgen && perf/websocket.py [--rounds N] [--duration 3s] [--only ROW]

One relay on core 0 with one worker, msrpload on core 1. In each round each row runs by each pair of transports, one after
the other; the table has medians over the rounds and the median of the ratios to TLS within the same round. Idle
connections are held on a relay of their own each time, for one that has served before has kept memory.
"""

import argparse
import contextlib
import json
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "perf"))
from compare import LOAD, RELAY, certificates  # noqa: E402

PORTS = {"tls": 34400, "wss": 34401, "ws": 34402, "admin": 34403}
CONFIG = """
[relay]
hosts = ["relay.test"]
workers = 1

[[listen]]
address = "127.0.0.1:34400"
transport = "tls"

[[listen]]
address = "127.0.0.1:34401"
transport = "wss"

[[listen]]
address = "127.0.0.1:34402"
transport = "ws"

[tls]
certificate = "server.crt"
key = "server.key"
peer_ca = "ca.crt"

[auth]
realm = "relay.test"
htdigest = "users.htdigest"

[admin]
address = "127.0.0.1:34403"
"""
PAIRS = [("tls", "tls"), ("wss", "wss"), ("ws", "ws"), ("wss", "tls"), ("tls", "wss")]
MESSAGE, OCTET = "cpu_us_per_message", "cpu_ns_per_octet"
ROWS = {
    "300 octets, window 16": (["--pairs", "50", "--window", "16"], MESSAGE, "us per message"),
    "300 octets, window 1": (["--pairs", "50", "--window", "1"], MESSAGE, "us per message"),
    "64 KiB chunks": (["--pairs", "4", "--size", "60KiB", "--window", "16"], OCTET, "ns per octet"),
    "1 MiB messages in 64 KiB chunks": (
        ["--pairs", "4", "--size", "1MiB", "--chunk-size", "64KiB", "--window", "2"], OCTET, "ns per octet"),
}
IDLE = 2000


class Relay:
    """One on core 0."""

    def __init__(self, folder):
        self.log = open(folder / "relay.log", "a")
        command = ["taskset", "-c", "0", RELAY, "run", "--config", folder / "msrpd.toml"]
        self.process = subprocess.Popen([str(word) for word in command], stdout=self.log, stderr=self.log)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORTS["tls"]), 1):
                return
            time.sleep(0.05)
        sys.exit(f"the relay does not start: {folder}/relay.log")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()
        self.process.wait()
        self.log.close()


def load(folder, relay, words):
    out = folder / "out.json"
    out.unlink(missing_ok=True)
    ways = [word for way in ("wss", "ws") for word in (f"--{way}", f"127.0.0.1:{PORTS[way]}")]
    command = [LOAD, *words, "--address", f"127.0.0.1:{PORTS['tls']}", *ways, "--host", "relay.test", "--ca", folder / "ca.crt",
               "--user", "u0:pw", "--cpu", "1", "--relay-pid", relay.process.pid, "--quiet", "--json", out]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if not out.exists():
        sys.exit(f"{' '.join(words)}: {done.stderr.strip()[-500:]}")
    return json.loads(out.read_text())


def measure(folder, relay, row, pair, duration):
    words, figure, _ = ROWS[row]
    ways = ["--sender", "both", "--sender-transport", pair[0], "--receiver-transport", pair[1]]
    found = load(folder, relay, ["chat", *words, *ways, "--duration", duration, "--warmup", "500ms"])
    wrong = found["counts"]["lost"] + sum(found["counts"]["wrong"].values())
    rate = found["measured"]["messages_per_second"]
    return {"value": found["relay"][figure], "rate": rate, "wrong": wrong, "own": found["own"]["cpu_share"]}


def idle(folder, transport):
    """KiB that one more connection takes, on a fresh relay."""
    relay = Relay(folder)
    try:
        words = ["idle", "--transport", transport, "--connections", str(IDLE), "--source-spread", "--duration", "2s"]
        return load(folder, relay, words)["relay"]["rss_kib_per_connection"]
    finally:
        relay.end()


def table(rows, results):
    print("| work | from | to | median | least to most | ratio to tls to tls | rate | |\n|---|---|---|---|---|---|---|---|")
    for row in rows:
        base = [one["value"] for one in results[row][("tls", "tls")]]
        for pair, rounds in results[row].items():
            values = [one["value"] for one in rounds]
            ratio = statistics.median(value / tls for value, tls in zip(values, base))
            rate = statistics.median(one["rate"] for one in rounds)
            wrong = sum(one["wrong"] for one in rounds)
            note = f"{wrong} lost or wrong" if wrong else ""
            print(f"| {row} | {pair[0]} | {pair[1]} | {statistics.median(values):.2f} {ROWS[row][2]} "
                  f"| {min(values):.2f} to {max(values):.2f} | {ratio:.2f} | {rate:,.0f}/s | {note} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="3s")
    parser.add_argument("--only", action="append", choices=[*ROWS, "idle"], help="this row; may be repeated")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.only or row in options.only]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="msrpd-websocket-"))
    certificates(folder)
    (folder / "msrpd.toml").write_text(CONFIG)
    subprocess.run([RELAY, "passwd", folder / "users.htdigest", "relay.test", "u0"], input=b"pw\n", check=True, capture_output=True)
    commit = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%h"], capture_output=True, text=True).stdout.strip()
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{commit}, Linux {platform.release()}, {model}\n")
    try:
        results = {row: {pair: [] for pair in PAIRS} for row in rows}
        relay = Relay(folder)
        for number in range(options.rounds if rows else 0):
            for row in rows:
                for pair in PAIRS:
                    results[row][pair].append(measure(folder, relay, row, pair, options.duration))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        relay.end()
        if rows:
            table(rows, results)
        if not options.only or "idle" in options.only:
            held = {way: [idle(folder, way) for _ in range(3)] for way in ("tls", "wss", "ws")}
            print("\n| idle connection | KiB each, three runs | more than tls, octets |\n|---|---|---|")
            base = statistics.median(held["tls"])
            for way, values in held.items():
                more = (statistics.median(values) - base) * 1024
                print(f"| {way} | {', '.join(f'{value:.2f}' for value in values)} | {more:+.0f} |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
