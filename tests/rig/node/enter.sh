#!/bin/sh
# Process 1 of the node: mounts its root, moves into it and becomes sshd. End of file on standard input ends the node.
# usage: enter.sh ROOT MOUNTPOINT [SOURCE TARGET]... -- COMMAND [ARGUMENT]...
set -eu
. "${0%/*}/root.sh"

# Process 1 hears only signals that it handles, and sshd handles TERM once it is up; with process 1 all others of the node end.
exec 3<&0 </dev/null
{
    read -r _ <&3 || :
    while kill -TERM 1; do sleep 0.1; done
} &
exec "$@" 3<&-
