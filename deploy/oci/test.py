#!/usr/bin/env python3
"""Runs the relay under seccomp.json, with messages through it, a reload and a drain; and without io_uring, which must be told.

    apt install python3-seccomp && cargo build --release --workspace && deploy/oci/test.py
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import seccomp

HERE = Path(__file__).resolve().parent
BIN = HERE.parent.parent / "target" / "release"


def confine(without=()):
    profile = json.loads((HERE / "seccomp.json").read_text(encoding="utf-8"))
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    rules = seccomp.SyscallFilter(seccomp.ERRNO(profile["defaultErrnoRet"]))
    for group in profile["syscalls"]:
        for name in group["names"]:
            if name not in without:
                try:
                    rules.add_rule(seccomp.ALLOW, name)
                except (RuntimeError, OSError):
                    pass  # a call of another architecture
    rules.load()


def start(folder, log, without=()):
    return subprocess.Popen(
        [BIN / "msrpd", "dev", "--dir", folder], stdout=log, stderr=log, preexec_fn=lambda: confine(without)
    )


def main():
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+", encoding="utf-8") as log:
        relay = start(f"{folder}/dev", log)
        try:
            for _ in range(50):
                if "Next" in Path(log.name).read_text(encoding="utf-8"):
                    break
                time.sleep(0.1)
            load = [BIN / "msrpload", "--dev", f"{folder}/dev", "--duration", "2s", "--quiet"]
            subprocess.run(load, check=True)
            relay.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            relay.send_signal(signal.SIGTERM)
            assert relay.wait(10) == 0, "it did not end in order"
        finally:
            relay.kill()
            said = Path(log.name).read_text(encoding="utf-8")
        assert "reloaded" in said, said
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/log", "w+", encoding="utf-8") as log:
        relay = start(f"{folder}/dev", log, ["io_uring_setup", "io_uring_enter", "io_uring_register"])
        assert relay.wait(10) != 0
        said = Path(log.name).read_text(encoding="utf-8")
        assert "io_uring" in said and "seccomp" in said, said
        print(said.strip().splitlines()[-1])
    print("the profile is good")


if __name__ == "__main__":
    sys.exit(main())
