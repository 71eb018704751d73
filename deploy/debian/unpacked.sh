#!/usr/bin/env bash
# Looks at both packages without installing anything on this machine: lintian, then programs, manual pages and shell
# completions from a root of their own, and messages from the one package through the other.
#
#     cargo install cargo-deb --locked
#     cargo deb --strip && deploy/debian/msrpload.sh && deploy/debian/unpacked.sh
#
# Needs lintian, dpkg and man; shells that are not here are left out, and it says so. Ports of `msrpd dev` must be free.
# test.sh goes further: it installs the relay's package in a clean Debian, as root.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$(mktemp -d)
relay=
finish() {
    [ -z "$relay" ] || kill "$relay" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$root"
}
trap finish EXIT
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

for name in msrpd msrpload; do
    package=$(ls -t target/debian/${name}_*.deb | head -n 1)
    echo "== $package"
    lintian --fail-on warning,error "$package"
    dpkg-deb --info "$package" | grep -E '^ (Version|Architecture|Depends|Installed-Size):'
    dpkg -x "$package" "$root"
done

echo "== manual pages"
pages=("$root"/usr/share/man/man1/*.1.gz)
for page in "${pages[@]}"; do
    said=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null) || fail "$page"
    [ -z "$said" ] || fail "$page: $said"
done
echo "${#pages[@]} pages, without a warning"
options=$("$root/usr/bin/msrpload" --help | grep -oE '^ +(-., )?--[a-z][a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u)
shown=$(man -l "$root/usr/share/man/man1/msrpload.1.gz" | col -b | grep -oE -- '--[a-z][a-z-]+' | sort -u)
missing=$(comm -23 <(echo "$options") <(echo "$shown"))
[ -z "$missing" ] || fail "not in msrpload(1): $missing"

echo "== completions"
export PATH=$root/usr/bin:$PATH
bash -c 'source "$1"; COMP_WORDS=(msrpload --transp); COMP_CWORD=1; _msrpload msrpload --transp ""; printf "%s\n" "${COMPREPLY[@]}"' \
    - "$root/usr/share/bash-completion/completions/msrpload" | grep -qx -- --transport || fail "bash"
if command -v zsh >/dev/null; then
    zsh -fc 'fpath=("$1" $fpath); autoload -U compinit; compinit -u -d "$2"; (( ${+_comps[msrpload]} ))' \
        - "$root/usr/share/zsh/vendor-completions" "$root/zcompdump" || fail "zsh"
    zsh -n "$root/usr/share/zsh/vendor-completions/_msrpload" || fail "zsh"
else
    echo "zsh is not here: its completions were not tried"
fi
if command -v fish >/dev/null; then
    HOME=$root fish --no-config -c 'source $argv[1]; complete -C "msrpload --transp"' \
        "$root/usr/share/fish/vendor_completions.d/msrpload.fish" | grep -q -- --transport || fail "fish"
else
    echo "fish is not here: its completions were not tried"
fi

echo "== messages"
said=$(msrpd check --config "$root/etc/msrpd/msrpd.toml" 2>&1) && fail "check is content without a certificate"
grep -q "tls.certificate" <<<"$said" || fail "check does not name the missing certificate: $said"
msrpd dev --dir "$root/dev" >"$root/relay.log" 2>&1 &
relay=$!
for _ in $(seq 100); do
    grep -q "^Next" "$root/relay.log" && break
    sleep 0.1
done
for transport in tls ws; do
    msrpload chat --dev "$root/dev" --transport "$transport" --duration 2s --quiet --report "$root/$transport.html" ||
        { cat "$root/relay.log" >&2; fail "messages by $transport"; }
done
kill -TERM "$relay"
wait "$relay" || fail "it did not end in order"
relay=
echo "both packages are good"
