#!/usr/bin/env bash
# Installs both packages in a clean Debian, runs the relay there as its own user, sends messages
# through it, and purges them.
#
#     cargo install cargo-deb --locked && cargo deb --strip
#     deploy/debian/msrpload.sh && sudo deploy/debian/test.sh
#
# Needs root, debootstrap and lintian; MIRROR is where Debian comes from.
set -euo pipefail
cd "$(dirname "$0")/../.."
package=$(ls -t target/debian/msrpd_*.deb | head -n 1)
load=$(ls -t target/debian/msrpload_*.deb | head -n 1)
suite=${SUITE:-bookworm}
# As apt has it: one-line entries, or the newer form.
mirror=${MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -oE '^(deb .*|URIs: *)https?://[^ ]+' | grep -oE 'https?://[^ ]+' | sed -n 1p || true)}
root=$(mktemp -d)
chmod 755 "$root"
relay=
finish() {
    [ -z "$relay" ] || kill "$relay" 2>/dev/null || true
    sleep 0.5
    umount "$root/proc" 2>/dev/null || true
    rm -rf "$root"
}
trap finish EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

echo "== lintian"
lintian --fail-on warning,error "$package" "$load"

echo "== a clean $suite from ${mirror:-the default mirror}"
debootstrap --variant=minbase --include=adduser "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
    { tail -n 5 "$root.log" >&2; fail "debootstrap"; }
mount -t proc proc "$root/proc"
cp "$package" "$root/tmp/msrpd.deb"
cp "$load" "$root/tmp/msrpload.deb"

echo "== install"
inside dpkg -i /tmp/msrpd.deb /tmp/msrpload.deb
inside getent passwd msrpd | grep -q nologin || fail "user msrpd is not there, or can log in"
inside dpkg-query -W -f '${Conffiles}' msrpd | grep -q /etc/msrpd/msrpd.toml || fail "no conffile"
[ "$(stat -c %a "$root/etc/msrpd")" = 750 ] || fail "/etc/msrpd is open to all"
[ -z "$(ls "$root/etc/msrpd" | grep -v '^msrpd.toml$')" ] || fail "a surprise in /etc/msrpd"
[ -z "$(find "$root/etc/systemd" -name 'msrpd.s*')" ] || fail "enabled without having been asked"
[ -s "$root/usr/share/man/man1/msrpd.1.gz" ] || fail "no manual page"
[ -s "$root/usr/share/man/man1/msrpload.1.gz" ] || fail "no manual page of msrpload"

echo "== nothing starts before it is configured"
said=$(inside msrpd check --config /etc/msrpd/msrpd.toml 2>&1) && fail "check is content without a certificate"
grep -q "tls.certificate" <<<"$said" || fail "check does not name the missing certificate: $said"

echo "== it runs as its own user"
inside install -d -o msrpd -g msrpd /tmp/dev
chroot --userspec=msrpd:msrpd "$root" /usr/bin/env -i PATH=/usr/bin msrpd dev --dir /tmp/dev >"$root.relay" 2>&1 &
relay=$!
for _ in $(seq 50); do
    grep -q "^Next" "$root.relay" && break
    sleep 0.1
done
[ "$(ps -o user= -p "$relay" | tr -d ' ')" != root ] || fail "it runs as root"
inside msrpload chat --dev /tmp/dev --duration 2s --quiet || { cat "$root.relay"; fail "messages through it"; }
kill -TERM "$relay"
wait "$relay" || fail "it did not end in order"
relay=

echo "== purge"
inside dpkg --purge msrpd msrpload
[ ! -e "$root/etc/msrpd" ] || fail "/etc/msrpd is left"
[ -z "$(ls "$root"/usr/bin/msrp* 2>/dev/null)" ] || fail "a program is left"
rm -f "$root.log" "$root.relay"
echo "both packages are good"
