#!/usr/bin/env python3
"""msrpd beside HAProxy and nginx (TLS to TLS, without a look inside) and Kamailio, in turn within one run.

    apt-get install haproxy nginx libnginx-mod-stream kamailio kamailio-tls-modules kamailio-extra-modules
    cargo build --release && perf/compare.py [--rounds N] [--duration 3s] [--only ROW] [--relay PATH]...

Every system has core 0 and one worker, the load generator core 1. In each round each row runs on
each system, one after the other. The table has medians over the rounds, the spread, and the ratio
to msrpd within the same round. A row whose load generator had no time to spare says so. The
proxies get the same octets as a chat: `msrpload pipe` sends them through to a listener of its own.

With `--relay` given twice or more, with names that differ, those binaries of msrpd are compared with the first one:

    perf/compare.py --systems msrpd --relay /tmp/msrpd-before --relay target/release/msrpd
"""

import argparse
import contextlib
import json
import os
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
PEERS = ROOT / "perf/peers"
RELAY = ROOT / "target/release/msrpd"
LOAD = ROOT / "target/release/msrpload"
BACK = 34900
PORTS = {"msrpd": 34300, "haproxy": 34000, "nginx": 34100, "kamailio": 31000}

# name: what msrpload does for a relay, and for a proxy; which figure counts
CHAT = ["chat", "--pairs", "50"]
PIPE = ["pipe", "--pairs", "50"]
CPU, OCTET, TAIL = "cpu_us_per_message", "cpu_ns_per_octet", "p99"
ROWS = {
    "300 octets, window 16, foreign sender": (CHAT + ["--sender", "foreign", "--window", "16"], PIPE + ["--window", "16"], CPU),
    "300 octets, window 16, authenticated sender": (CHAT + ["--sender", "authenticated", "--window", "16"], None, CPU),
    "300 octets, window 16, both authenticated here": (CHAT + ["--sender", "both", "--window", "16"], None, CPU),
    "300 octets, window 1": (CHAT + ["--sender", "foreign", "--window", "1"], PIPE + ["--window", "1"], CPU),
    "2 KiB chunks": (
        ["chat", "--pairs", "4", "--sender", "foreign", "--size", "2KiB", "--window", "16"],
        ["pipe", "--pairs", "4", "--size", "2KiB", "--window", "16"],
        OCTET,
    ),
    "64 KiB chunks": (
        ["chat", "--pairs", "4", "--sender", "foreign", "--size", "64KiB", "--window", "16"],
        ["pipe", "--pairs", "4", "--size", "64KiB", "--window", "16"],
        OCTET,
    ),
    "open loop, 5,000 messages/s": (CHAT + ["--sender", "foreign", "--rate", "5000"], PIPE + ["--rate", "5000"], TAIL),
}
# Kamailio relays no large chunk, and asks for more CPU than a window of 16 leaves it.
KAMAILIO = {"300 octets, window 16, foreign sender", "300 octets, window 1"}


def certificates(folder):
    """An authority and one certificate for all systems."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    key = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]
    openssl(*key, "ca.key")
    openssl("req", "-x509", "-new", "-key", "ca.key", "-days", "30", "-subj", "/CN=comparison", "-out", "ca.crt")
    openssl(*key, "raw.key")
    openssl("pkcs8", "-topk8", "-nocrypt", "-in", "raw.key", "-out", "server.key")
    openssl("req", "-new", "-key", "server.key", "-subj", "/CN=relay.test", "-out", "server.csr")
    names = "subjectAltName=DNS:relay.test,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
    (folder / "ext.cnf").write_text(names)
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "30", "-extfile", "ext.cnf", "-out", "server.crt")


def fill(name, folder, **words):
    """A configuration of perf/peers with its words put in."""
    text = (PEERS / f"{name}.in").read_text()
    for word, value in {"DIR": folder, "PORT": PORTS[name.split(".")[0]], "BACK": BACK, **words}.items():
        text = text.replace(f"@{word}@", str(value))
    target = folder / name
    target.write_text(text)
    return target


def on_core_0(command, log):
    return subprocess.Popen(["taskset", "-c", "0", *map(str, command)], stdout=log, stderr=log, start_new_session=True)


def is_msrpd(system):
    return system not in ("haproxy", "nginx", "kamailio")


def start(folder, relays):
    """The systems that are there, as name -> process."""
    log = open(folder / "systems.log", "w")
    running = {}
    passwd = [relays[0], "passwd", folder / "users.htdigest", "relay.test", "u0"]
    subprocess.run(passwd, input=b"pw\n", check=True, capture_output=True)
    for number, relay in enumerate(relays):
        name = relay.name
        PORTS[name] = PORTS["msrpd"] + number
        config = fill("msrpd.toml", folder, PORT=PORTS[name], ADMIN=34400 + number).rename(folder / f"{name}.of.toml")
        running[name] = on_core_0([relay, "run", "--config", config], log)
    if shutil.which("haproxy"):
        (folder / "both.pem").write_text((folder / "server.crt").read_text() + (folder / "server.key").read_text())
        running["haproxy"] = on_core_0(["haproxy", "-db", "-f", fill("haproxy.cfg", folder)], log)
    if pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so").exists():
        running["nginx"] = on_core_0(["nginx", "-p", folder, "-c", fill("nginx.conf", folder)], log)
    if shutil.which("kamailio"):
        fill("kamailio.tls", folder)
        command = ["kamailio", "-DD", "-E", "-m", "256", "-M", "32", "-f", fill("kamailio.cfg", folder), "-Y", folder, "-w", folder]
        running["kamailio"] = on_core_0(command, log)
    for name, process in list(running.items()):
        if not listens(PORTS[name], process):
            print(f"{name} does not start; left out (see {folder}/systems.log with --keep)", file=sys.stderr)
            end(running.pop(name))
    return running


def listens(port, process):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return process.poll() is None
        time.sleep(0.05)
    return False


def end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def measure(system, process, words, folder, duration):
    out = folder / "out.json"
    out.unlink(missing_ok=True)
    command = [LOAD, *words, "--address", f"127.0.0.1:{PORTS[system]}", "--host", "relay.test", "--ca", folder / "ca.crt",
               "--duration", duration, "--warmup", "500ms", "--cpu", "1", "--relay-pid", process.pid, "--quiet", "--json", out]
    if words[0] == "pipe":
        command += ["--listen-port", BACK, "--listen-host", "relay.test",
                    "--listen-certificate", folder / "server.crt", "--listen-key", folder / "server.key"]
    else:
        command += ["--user", "u0:pw"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if not out.exists():
        print(f"{system}: {' '.join(words)}: {result.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    found = json.loads(out.read_text())
    counts = found["counts"]
    wrong = counts["lost"] + sum(counts["wrong"].values())
    return {
        CPU: found["relay"][CPU],
        OCTET: found["relay"][OCTET],
        TAIL: found["measured"]["delivery_us"]["p99"],
        "p999": found["measured"]["delivery_us"]["p999"],
        "rate": found["measured"]["messages_per_second"],
        "own": found["own"]["cpu_share"],
        "relay": found["relay"]["cpu_share"],
        "wrong": wrong,
    }


def versions():
    def first(*command):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return None
        return (done.stdout + done.stderr).splitlines()[0].strip()

    commit = first("git", "-C", str(ROOT), "log", "-1", "--format=%h")
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"msrpd {commit}, {first('haproxy', '-v')}, {first('nginx', '-v')}, {first('kamailio', '-v')}; "
          f"Linux {platform.release()}, {os.cpu_count()} cores, {model}\n")


def table(rows, results):
    first = next(iter(results[rows[0]]))
    print(f"| work | figure | system | median | least to most | ratio {first} / system | rate | |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        figure = ROWS[row][2]
        for shown in [TAIL, "p999"] if figure == TAIL else [figure]:
            for system, rounds in results[row].items():
                values = [one[shown] for one in rounds if one]
                if not values:
                    continue
                ratios = [a[shown] / b[shown] for a, b in zip(results[row][first], rounds) if a and b and b[shown]]
                ratio = "" if system == first else f"{statistics.median(ratios):.2f}"
                rate = statistics.median(one["rate"] for one in rounds if one)
                notes = []
                if max(one["own"] for one in rounds if one) > 0.9 > max(one["relay"] for one in rounds if one):
                    notes.append("the load generator was the bottleneck")
                if any(one["wrong"] for one in rounds if one):
                    notes.append(f"{sum(one['wrong'] for one in rounds if one)} lost or wrong")
                unit = {CPU: "us CPU per message", OCTET: "ns CPU per octet", TAIL: "us p99", "p999": "us p99.9"}[shown]
                print(f"| {row} | {unit} | {system} | {statistics.median(values):.2f} | {min(values):.2f} to {max(values):.2f} "
                      f"| {ratio} | {rate:,.0f}/s | {', '.join(notes)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--duration", default="3s")
    parser.add_argument("--only", action="append", choices=list(ROWS), help="this row; may be repeated")
    parser.add_argument("--systems", default="msrpd,haproxy,nginx,kamailio", help="which ones")
    parser.add_argument("--relay", action="append", type=pathlib.Path, help="a binary of msrpd; target/release/msrpd without it")
    parser.add_argument("--keep", action="store_true", help="keep the folder with configurations and logs")
    options = parser.parse_args()
    rows = options.only or list(ROWS)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="msrpd-compare-"))
    certificates(folder)
    versions()
    running = {}
    try:
        running = {name: process for name, process in start(folder, options.relay or [RELAY]).items()}
        for name in list(running):
            if ("msrpd" if is_msrpd(name) else name) not in options.systems.split(","):
                end(running.pop(name))
        results = {row: {name: [] for name in running} for row in rows}
        for number in range(options.rounds):
            for row in rows:
                for system, process in running.items():
                    words = ROWS[row][0] if is_msrpd(system) or system == "kamailio" else ROWS[row][1]
                    if words is None or (system == "kamailio" and row not in KAMAILIO):
                        continue
                    results[row][system].append(measure(system, process, words, folder, options.duration))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        table(rows, results)
    finally:
        for process in running.values():
            end(process)
        if options.keep:
            print(folder, file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
