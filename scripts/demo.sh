#!/bin/sh
# From nodes.json to running Auto Scaling groups, a new image of one, a machine beside them and a deploy, on an embedded AWS and in
# a copy of the example, so that nothing here changes. What it starts it stops, also when it fails or is interrupted.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
export NODEPKG_SANDBOX=1

folder=$(mktemp -d)
finish() {
    package sandbox:stop --quiet --nodes "$folder/nodes.json" >/dev/null 2>&1 || true
    rm -rf "$folder"
}
trap finish EXIT
trap 'exit 130' INT TERM

for part in nodes.json cookbooks data_bags templates; do cp -R "$part" "$folder/"; done
cd "$folder"

step() {
    printf '\n$ package %s\n' "$*"
    package "$@"
}

step config:check
step group:create
step packer:run 12_04-base 12_04-bee ftp-processor
step autoscale:run 12_04-bee ftp-processor
step packer:list 12_04-base
step packer:run ftp-processor --force
step autoscale:update ftp-processor
step autoscale:status 12_04-bee ftp-processor
(umask 077 && python -c 'import asyncssh; asyncssh.generate_private_key("ssh-ed25519").write_private_key("ops.pem")')
step instance:create 12_04-bee --key ops.pem --name bee-debug
step instance:list 12_04-bee
step instance:deploy 12_04-bee --canary 1
step instance:delete bee-debug --yes
step group:status
