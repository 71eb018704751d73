#!/usr/bin/env bash
# A whole call on this machine: Kamailio as registrar and proxy, SIPp as the two user agents' SIP, examples/client.py as their
# MSRP, msrpd between. README.md tells what happens. Ends by itself; exit code 0 if all of it worked.
#
#   examples/call/run.sh [--install] [--keep]
#
# --install: apt-get install kamailio sip-tester first.  --keep: leave the folder with logs.  MSRPD=FILE: the relay to use.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

fail() {
    echo "error: $*" >&2
    exit 1
}

install='' keep=''
for option; do
    case $option in
        --install) install=yes ;;
        --keep) keep=yes ;;
        *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
if [ "$install" ]; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends kamailio sip-tester
fi
for program in kamailio sipp python3; do
    PATH=$PATH:/usr/sbin command -v $program >/dev/null ||
        fail "no $program here; on Debian: apt-get install kamailio sip-tester python3, or $0 --install"
done
PATH=$PATH:/usr/sbin
python3 -c 'import tomllib' 2>/dev/null || fail "examples/client.py needs Python 3.11"
for relay in "${MSRPD:-}" "$root/target/release/msrpd" "$root/target/debug/msrpd"; do
    [ -x "$relay" ] && break
done
[ -x "$relay" ] || fail "no msrpd in target/; cargo build --release, or MSRPD=FILE $0"
relay=$(realpath "$relay")

folder=$(mktemp -d)
started=()
finish() {
    code=$?
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for pid in "${started[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    if [ $code -ne 0 ]; then
        tail -n 15 "$folder"/*.log "$folder"/*.out >&2 || true
    fi
    if [ "$keep" ]; then echo "logs in $folder"; else rm -rf "$folder"; fi
    exit $code
}
trap finish EXIT
cd "$folder"

# `start NAME COMMAND...`: in the background, its output in NAME.out.
start() {
    local name=$1
    shift
    "$@" <&0 >"$name.out" 2>&1 &
    started+=($!)
}

# `until_line FILE WORD [N]`: what follows WORD on the first (Nth) line that has it, at most 30 s from now.
until_line() {
    local deadline=$((SECONDS + 30)) count=${3:-1}
    until [ "$(cat "$1" 2>/dev/null | grep -c "$2")" -ge "$count" ]; do
        [ $SECONDS -lt $deadline ] || fail "no '$2' in $1"
        sleep 0.05
    done
    sed -n "s/$2 *//p" "$1" | sed -n "${count}p"
}

# `client NAME USER MESSAGES`: an MSRP client, its input in NAME.in.
client() {
    local input
    mkfifo "$1.in"
    exec {input}<>"$1.in"
    start "$1" python3 "$root/examples/client.py" --dev msrpd-dev --user "$2" --expect "$3" <&$input
    inputs[$1]=$input clients[$1]=${started[-1]}
}
declare -A inputs clients

# `say NAME LINE`
say() {
    echo "$2" >&"${inputs[$1]}"
}

# `quit NAME`: its last line of input. It ends with 0 if all was delivered and all has come.
quit() {
    say "$1" /quit
    wait "${clients[$1]}" || fail "$1 ended with $?"
    sed "s/^/$2  /;/path/d" "$1.out"
}

# Ports that are free now, for UDP and TCP.
ports=($(python3 - <<'P'
import socket
held = []
while len(held) < 10:
    tcp, udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    tcp.bind(("127.0.0.1", 0))
    try:
        udp.bind(tcp.getsockname())
    except OSError:
        continue
    held += [tcp, udp]
print(*(one.getsockname()[1] for one in held[::2]))
P
))
msrp=${ports[0]} admin=${ports[1]} sip=${ports[2]} alice=${ports[3]} bob=${ports[4]}

echo "== msrpd on 127.0.0.1:$msrp"
mkdir -m 700 msrpd-dev
cat >msrpd-dev/msrpd.toml <<T
[relay]
hosts = ["relay.localhost", "localhost"]
[[listen]]
address = "127.0.0.1:$msrp"
[tls]
certificate = "relay.pem"
key = "relay.key"
peer_ca = "ca.pem"
[auth]
realm = "relay.localhost"
htdigest = "users.htdigest"
[admin]
address = "127.0.0.1:$admin"
[log]
format = "text"
T
start msrpd "$relay" dev --dir msrpd-dev
until_line msrpd.out ' ready' >/dev/null
sed -i "s/127.0.0.1:2855/127.0.0.1:$msrp/" msrpd-dev/dev.toml

echo "== kamailio on 127.0.0.1:$sip"
sed "s/SIP_PORT/$sip/" "$here/kamailio.cfg" >kamailio.cfg
kamailio -c -f kamailio.cfg >kamailio-check.out 2>&1 || fail "kamailio does not take kamailio.cfg"
start kamailio kamailio -f kamailio.cfg -DD -E -m 32 -M 4 -w "$folder" -Y "$folder"

# `sip SCENARIO PORT OPTION...`
sip() {
    local scenario=$1 port=$2
    shift 2
    # A -key counts for the scenario that follows it.
    sipp "$@" -sf "$here/$scenario.xml" -i 127.0.0.1 -p "$port" -m 1 -nostdin -timeout 30 -timeout_error \
        -trace_err -error_file "$folder/$scenario-errors.log" -trace_logs -log_file "$folder/$scenario.log" "127.0.0.1:$sip"
}

echo "== register"
for user in alice bob; do
    sip register "${!user}" -s $user >"register-$user.out" 2>&1 || fail "$user is not registered"
done

echo "== AUTH"
client alice-msrp alice 1
client bob-msrp bob 2
alice_path=$(until_line alice-msrp.out '^path')
bob_path=$(until_line bob-msrp.out '^path')
echo "alice  a=path:$alice_path"
echo "bob    a=path:$bob_path"

echo "== INVITE, 200, ACK"
start bob-sip sip bob "$bob" -key path "$bob_path"
bob_sip=${started[-1]}
sip alice "$alice" -cid_str the-call -key path "$alice_path" >alice-sip.out 2>&1 || fail "the call was not set up"
# As each got it from the other's SDP.
bob_told=$(until_line alice.log '^path')
alice_told=$(until_line bob.log '^path')
[ "$bob_told" = "$bob_path" ] && [ "$alice_told" = "$alice_path" ] || fail "the paths changed on their way"

echo "== MSRP"
# Alice offered actpass and Bob answered passive: she is active and sends first.
say alice-msrp "/to $bob_told"
say alice-msrp 'Hello Bob'
until_line bob-msrp.out '^received Hello Bob' >/dev/null
say bob-msrp "/to $alice_told"
say bob-msrp 'Hello Alice'
until_line alice-msrp.out '^received Hello Alice' >/dev/null
until_line alice-msrp.out '^delivered' >/dev/null
until_line bob-msrp.out '^delivered' >/dev/null

echo "== Alice's connection to the relay ends: AUTH and re-INVITE"
quit alice-msrp alice
client alice-again alice 1
alice_path=$(until_line alice-again.out '^path')
echo "alice  a=path:$alice_path"
contact=$(until_line alice.log '^contact')
sip reinvite "$alice" -cid_str the-call -key path "$alice_path" -key contact "$contact" >reinvite.out 2>&1 ||
    fail "the re-INVITE was not answered"
[ "$(until_line bob.log '^path' 2)" = "$alice_path" ] || fail "the new path changed on its way"
say alice-again "/to $(until_line reinvite.log '^path')"
say alice-again 'Here I am again'
until_line bob-msrp.out '^received Here I am again' >/dev/null
say bob-msrp "/to $(until_line bob.log '^path' 2)"
say bob-msrp 'Welcome back'
quit alice-again alice
quit bob-msrp bob

echo "== BYE"
sip bye "$alice" -cid_str the-call -key contact "$contact" >bye.out 2>&1 || fail "no 200 to BYE"
wait "$bob_sip" || fail "bob's SIP did not go as it should"
echo "all well"
