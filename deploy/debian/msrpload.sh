#!/usr/bin/env bash
# Makes the package of the load generator: target/debian/msrpload_*.deb.
#
#     cargo install cargo-deb --locked && deploy/debian/msrpload.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release --locked -p loadgen
program=target/release/msrpload
mkdir -p target/man
"$program" manual target/man
for shell in bash zsh fish; do
    "$program" completions "$shell" >"target/man/msrpload.$shell"
done
cargo deb -p loadgen --no-build --strip
package=$(ls -t target/debian/msrpload_*.deb | head -n 1)
# What somebody looks for after installing it.
for file in usr/bin/msrpload usr/share/man/man1/msrpload.1.gz usr/share/man/man1/msrpload-search.1.gz \
    usr/share/bash-completion/completions/msrpload usr/share/doc/msrpload/load-testing.md; do
    dpkg-deb --fsys-tarfile "$package" | tar -t | grep -q "^./$file\(.gz\)\?$" || { echo "not in it: $file" >&2; exit 1; }
done
echo "$package"
