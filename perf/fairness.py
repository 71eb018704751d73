#!/usr/bin/env python3
"""Chats beside films over two relays, with and without the films, in turn within one run.

    cargo build --release && perf/fairness.py [--rounds N] [--only NAME] [--duration 5s] [--warmup 1s]

Each case runs `msrpd` twice (relay A and relay B, of `msrpd dev --two`, on ports of their own)
and `msrpload mixed --via`: 100 chats at a fixed rate through both, by an open loop, and films
beside them. It prints a Markdown table: the chats' p99 without and with, in medians over the
rounds, their ratio as the median of each round's, and what became of the films.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RELAY = ROOT / "target/release/msrpd"
LOAD = ROOT / "target/release/msrpload"
PORTS = {"2855": "39155", "2856": "39156", "9855": "39855", "9856": "39856"}

# name: links per next hop, what the chats are, what is beside them
CHATS = ["--pairs", "100", "--rate", "1000"]
MANY = ["--pairs", "1000", "--rate", "1000"]
# A film as fast as it goes takes all cores that there are, and chats would wait for the kernel's
# scheduler whatever the relays do. So its sender gets a wire of its own, of a gigabit per second.
WIRE_OCTETS = 110_000_000
APART = "apart"
SLOW = ["--film-receiver-rate", "1MiB", "--film-size", "6MiB", "--film-count", "1"]
CASES = {
    "film": (1, CHATS, APART),
    "slow film": (2, CHATS, ["--films", "1", *SLOW]),
    "slow film on one link": (1, CHATS, ["--films", "1", *SLOW]),
    "three slow films": (2, CHATS, ["--films", "3", *SLOW]),
    "three slow films on one link": (1, CHATS, ["--films", "3", *SLOW]),
    "standing chat": (1, MANY, ["--films", "0", "--standing", "chat"]),
    "standing film": (1, MANY, ["--films", "1", "--film-size", "1GiB", "--film-count", "1", "--standing", "film"]),
}


def relays(folder, links):
    """Writes the configurations once, and gives the two processes."""
    if not (folder / "relay-a.toml").exists():
        made = subprocess.Popen([RELAY, "dev", "--two", "--dir", folder], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(100):
            if (folder / "relay-b.toml").exists() and (folder / "dev.toml").exists():
                break
            time.sleep(0.05)
        time.sleep(0.3)
        made.send_signal(signal.SIGTERM)
        made.wait()
        for name in ["relay-a.toml", "relay-b.toml", "dev.toml"]:
            text = (folder / name).read_text()
            for old, new in PORTS.items():
                text = text.replace(old, new)
            (folder / name).write_text(text)
    running = []
    for name in ["relay-a", "relay-b"]:
        text = re.sub(r"links_per_next_hop = \d+\n", "", (folder / f"{name}.toml").read_text())
        key = f"links_per_next_hop = {links}\n"
        if "[dial]\n" in text:
            text = text.replace("[dial]\n", "[dial]\n" + key)
        else:
            text += "\n[dial]\n" + key
        (folder / f"{name}.toml").write_text(text)
        log = open(folder / f"{name}.log", "ab")
        process = subprocess.Popen([RELAY, "run", "--config", folder / f"{name}.toml"], stdout=log, stderr=log)
        (folder / f"{name}.pid").write_text(f"{process.pid}\n")
        running.append(process)
    time.sleep(0.7)
    return running


def wire(port, target):
    """Passes octets on to the target, not faster than the wire; runs in a process of its own."""
    listener = socket.create_server(("127.0.0.1", port))

    def pass_on(source, sink, rate):
        began, octets = time.monotonic(), 0
        while block := source.recv(65536):
            sink.sendall(block)
            octets += len(block)
            now = time.monotonic()
            ahead = octets / rate - (now - began)
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.01:
                began, octets = now, 0
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    while True:
        client = listener.accept()[0]
        relay = socket.create_connection(("127.0.0.1", target))
        for one, other, rate in [(client, relay, WIRE_OCTETS), (relay, client, 1e12)]:
            threading.Thread(target=pass_on, args=(one, other, rate), daemon=True).start()


def load(folder, workload, out, arguments):
    out.unlink(missing_ok=True)
    command = [LOAD, workload, "--dev", folder, "--via", "--quiet", "--scrape", "--json", out, *arguments]
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def run(folder, links, arguments, beside, duration):
    running = relays(folder, links)
    out, film_out = folder / "result.json", folder / "film.json"
    film, slow = None, None
    try:
        if beside == APART:
            address = f"127.0.0.1:{PORTS['2855']}"
            if WIRE_OCTETS:
                slow = multiprocessing.Process(target=wire, args=(39157, int(PORTS["2855"])), daemon=True)
                slow.start()
                address = "127.0.0.1:39157"
            time.sleep(0.2)
            seconds = int(duration.rstrip("s")) + 2
            film = load(
                folder,
                "file",
                film_out,
                ["--pairs", "1", "--window", "1", "--message-size", "1GiB", "--chunk-size", "256KiB", "--duration", f"{seconds}s", "--address", address],
            )
            time.sleep(1)
            beside = ["--films", "0"]
        load(folder, "mixed", out, [*arguments, *beside]).wait()
        result = json.loads(out.read_text())
        if film:
            film.wait()
            film = json.loads(film_out.read_text())
            # A film that began in the warm-up is counted there.
            both = {name: film["counts"][name] + film["warmup"][name] for name in ["sent", "delivered", "reported", "lost"]}
            result["films"] = {"counts": both, "megabytes_per_second": film["measured"]["megabytes_per_second"]}
        return result
    finally:
        if slow:
            slow.kill()
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait()


def counted(result, what):
    counts = (result.get(what) or {}).get("counts") or {}
    return {name: counts.get(name, 0) for name in ["sent", "delivered", "reported", "lost"]}


def case(folder, name, rounds, duration, warmup):
    links, chats, beside = CASES[name]
    arguments = [*chats, "--duration", duration, "--warmup", warmup, "--chunk-size", "256KiB"]
    lines = []
    for number in range(rounds):
        pair = {}
        for way, more in [("without", ["--films", "0"]), ("with", beside)]:
            result = run(folder, links, arguments, more, duration)
            pair[way] = result
            p99 = result["measured"]["delivery_us"]["p99"]
            print(
                f"  {name}, round {number + 1} {way}: p99 {p99:.0f} us, max {result['measured']['delivery_us']['max']:.0f} us, chats {counted_chats(result)}, "
                f"films {counted(result, 'films')}, {((result.get('films') or {}).get('megabytes_per_second') or 0):.0f} MB/s, "
                f"standing {counted(result, 'standing')}, "
                f"own lateness p99 {result['own']['lateness_us']['p99']:.0f} us, the relays' own {scraped(result)}",
                file=sys.stderr,
                flush=True,
            )
        lines.append(pair)
    return row(name, links, lines)


def scraped(result):
    """What the relays themselves measured from the last octet in to the last octet out, the film's chunks too."""
    own = [times for name, times in result["scraped_us"].items() if "forward" in name]
    return ", ".join(f"p50 {times['p50']:.0f} p99 {times['p99']:.0f} us" for times in own)


def counted_chats(result):
    counts = result["counts"]
    return {name: counts.get(name, 0) for name in ["sent", "delivered", "reported", "lost"]}


def row(name, links, pairs):
    p99 = {way: [pair[way]["measured"]["delivery_us"]["p99"] for pair in pairs] for way in ["without", "with"]}
    ratios = [after / before for before, after in zip(p99["without"], p99["with"])]
    sums = {}
    for pair in pairs:
        for what in ["films", "standing"]:
            for key, value in counted(pair["with"], what).items():
                sums[what, key] = sums.get((what, key), 0) + value
    lost = sum(counted_chats(pair[way])["lost"] for pair in pairs for way in pair)
    reported = sum(counted_chats(pair[way])["reported"] for pair in pairs for way in pair)
    speed = statistics.median((pair["with"].get("films") or {}).get("megabytes_per_second", 0) for pair in pairs)
    after = max((pair["with"].get("standing") or {}).get("reported_after_us", {}).get("max", 0) for pair in pairs) / 1e6
    films = f"{sums['films', 'delivered']} whole, {sums['films', 'reported']} refused, {sums['films', 'lost']} lost, {speed:.0f} MB/s"
    standing = f"{sums['standing', 'reported']} told within {after:.1f} s, {sums['standing', 'lost']} lost" if after else "–"
    return (
        f"| {name} | {links} | {len(pairs)} | {statistics.median(p99['without']) / 1000:.2f} ms | "
        f"{statistics.median(p99['with']) / 1000:.2f} ms | {statistics.median(ratios):.2f} | {reported}, {lost} | {films} | {standing} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", choices=list(CASES))
    parser.add_argument("--duration", default="5s", help="of the measured stretch, whole seconds")
    parser.add_argument("--warmup", default="1s", help="0s: the pause that a slow film costs is measured, too")
    parser.add_argument("--wire", type=float, default=110, help="MB/s of the wire of the fast film's sender; 0: it has none")
    parser.add_argument("--keep", help="a folder for configurations and logs")
    options = parser.parse_args()
    global WIRE_OCTETS
    WIRE_OCTETS = int(options.wire * 1e6)
    folder = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="fairness-"))
    folder.mkdir(exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    print(f"commit {commit}, {os.cpu_count()} cores\n")
    print("| beside 100 (1,000) chats | links | rounds | p99 without | p99 with | ratio | chats reported, lost | films | standing |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in options.only or CASES:
        print(case(folder, name, options.rounds, options.duration, options.warmup), flush=True)
    if not options.keep:
        shutil.rmtree(folder)


main()
