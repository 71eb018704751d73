#!/usr/bin/env bash
# Where the relay's time goes: perf record (cpu-clock; no hardware counters needed) of one shard
# under `msrpload chat`, as a table by part of the walk, and the folded stacks for a flame graph.
#
#     perf/profile.sh [WINDOW [FOLDER]]        default: 16, /tmp/msrpd-profile
#
# Builds a release with frame pointers of its own in FOLDER/target (minutes, once).
set -euo pipefail
cd "$(dirname "$0")/.."
window=${1:-16}
folder=${2:-/tmp/msrpd-profile}
mkdir -p "$folder"
export CARGO_TARGET_DIR=$folder/target
RUSTFLAGS="-C force-frame-pointers=yes" cargo build --release --locked -p msrpd
RUSTFLAGS="-C force-frame-pointers=yes" cargo build --release --locked -p loadgen
bin=$CARGO_TARGET_DIR/release

rm -rf "$folder/dev"
MSRPD__RELAY__WORKERS=1 taskset -c 0 "$bin/msrpd" dev --dir "$folder/dev" >"$folder/relay.log" 2>&1 &
relay=$!
trap 'kill "$relay" 2>/dev/null; wait "$relay" 2>/dev/null || true' EXIT
sleep 1.5
taskset -c 1 "$bin/msrpload" chat --dev "$folder/dev" --pairs 50 --window "$window" \
    --duration 8s --relay-pid "$relay" --quiet >"$folder/load-$window.txt" 2>&1 &
load=$!
sleep 3
perf record -q -e cpu-clock -F 4000 -g -o "$folder/perf-$window.data" -p "$relay" -- sleep 4
wait "$load"
grep -E "relay|rate" "$folder/load-$window.txt" || true

# Stacks, outermost first, with how often each was seen: what flame graph tools read.
perf script -i "$folder/perf-$window.data" -F comm,ip,sym 2>/dev/null | awk '
    /^[^ \t]/ { next }
    /^$/ { if (n) { line = "shard"; for (i = n; i > 0; i--) line = line ";" stack[i]; seen[line]++ } n = 0; next }
    { sub(/^[ \t]*[0-9a-f]+ /, ""); gsub(/;/, ":"); stack[++n] = $0 }
    END { for (line in seen) print line, seen[line] }
' | sort >"$folder/folded-$window.txt"

echo "per cent of the shard's time, window $window"
awk '
    function part(stack) {
        if (stack ~ /tcp_sendmsg|sock_sendmsg|io_send/) return "kernel: send"
        if (stack ~ /tcp_recvmsg|sock_recvmsg|io_recv/) return "kernel: receive"
        if (stack ~ /epoll/) return "kernel: epoll_wait"
        if (stack ~ /entry_SYSCALL|asm_sysvec|do_syscall/) return "kernel: ring, interrupts, the rest"
        if (stack ~ /TlsSession::read|Connection::pump/) return "TLS: decrypt"
        if (stack ~ /TlsSession::write|Connection::seal/) return "TLS: encrypt"
        if (stack ~ /Decoder::next/) return "machine: decode"
        if (stack ~ /Relay::transmit/) return "machine: write what leaves"
        if (stack ~ /receive_octets/) return "machine: route, custody, transactions, answers"
        if (stack ~ /Relay::sent/) return "machine: after a send"
        if (stack ~ /msrpd::shard/) return "shard: buffers, tasks"
        return "runtime"
    }
    { count = $NF; sub(/ [0-9]+$/, ""); sum[part($0)] += count; all += count }
    END { for (name in sum) printf "%6.1f  %s\n", 100 * sum[name] / all, name }
' "$folder/folded-$window.txt" | sort -rn
echo "stacks: $folder/folded-$window.txt (flamegraph.pl, inferno, speedscope)"
