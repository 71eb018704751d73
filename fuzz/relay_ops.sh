#!/usr/bin/env bash
# fuzz/relay_ops.sh N [CORPUS]: runs the fuzz target of the relay machine for N executions, on one core and niced.
# Works on a copy of the corpus (default /tmp/relay_ops) and goes on where an earlier run has ended.
set -eu
runs=${1:?"how many executions"}
corpus=${2:-/tmp/relay_ops}
cd "$(dirname "$0")/.."
mkdir -p "$corpus"
cp -n fuzz/corpus/relay_ops/* "$corpus"/
# Two octets are one choice. Inputs longer than 1,200 octets take most of the time and find little that shorter ones do not:
# the world is made anew for each, and every choice is followed by a look at all tables.
RUSTC_BOOTSTRAP=1 nice -n 10 cargo fuzz run -s none relay_ops "$corpus" -- -max_len=1200 -len_control=0 -runs="$runs" -print_final_stats=1
