"""What Run Command runs on the nodes of a group: fleet/node.py's script, and around it what SSM asks for.

The whole is one line of base64, since Systems Manager replaces {{ }} in parameters. It writes the script's own lines
first and then the end of what the converge wrote: Systems Manager keeps the beginning of an output only.
"""

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote

from nodepkg.clients.supervised import HOME
from nodepkg.fleet import node
from nodepkg.fleet.transport import Parcel

# Systems Manager lists 2,500 characters of an output, and gives 24,000 to those who ask for one node's.
OUTPUT_OF_SUCCESS, OUTPUT_OF_FAILURE = 2000, 20000
_LINES = 1000
# The id of an instance: as the agent tells it (since 3.0), as cloud-init noted it, as the machine has it.
_IDS = ("/var/lib/cloud/data/instance-id", "/sys/devices/virtual/dmi/id/board_asset_tag")


@dataclass(frozen=True)
class Sent:
    """What goes over besides the parcel: `url` of the bundle; `dnas`, "" or that of an archive of one-offs' own dna.

    Whoever gets it after `latest` (seconds since the epoch) leaves it. `home` is for tests.
    """

    token: str
    url: str
    dnas: str
    latest: float
    home: str = HOME


def dna_archive(dnas: Mapping[str, bytes]) -> bytes:
    """A tar.gz with ID.json for each instance; the same bytes for the same dnas."""
    whole = io.BytesIO()
    with gzip.GzipFile(fileobj=whole, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for instance, dna in sorted(dnas.items()):
            entry = tarfile.TarInfo(f"{instance}.json")
            entry.size, entry.mode = len(dna), 0o600
            archive.addfile(entry, io.BytesIO(dna))
    return whole.getvalue()


def script(parcel: Parcel, sent: Sent) -> str:
    """One line for a POSIX shell, with no brace and no quotation mark in what is not ours."""
    run = node.Run(
        deploy=parcel.deploy,
        token=sent.token,
        digest=parcel.digest,
        path=parcel.path,
        command=parcel.command,
        timeout=parcel.timeout,
        url=sent.url,
        follow=False,
        lines=_LINES,
        home=sent.home,
    )
    inner = node.script(run).decode("utf-8", errors="surrogateescape")
    if sent.dnas:
        inner = inner.replace("\nnp_dna=''\n", "\nnp_dna=$np_own\n", 1)
    values = {
        "token": sent.token,
        "latest": str(int(sent.latest)),
        "dnas": sent.dnas,
    }
    front = "".join(f"np_{name}={quote(value)}\n" for name, value in values.items())
    text = front + _BEFORE + (_DNA if sent.dnas else "") + f"np_node() (\n{inner})\n" + _AFTER
    packed = gzip.compress(text.encode("utf-8", errors="surrogateescape"), mtime=0)
    return f'eval "$(printf %s {base64.b64encode(packed).decode()} | base64 -d | gzip -dc)"'


_BEFORE = r"""umask 077
np_refuse() { echo "nodepkg-$np_token ended broken - $1"; exit 70; }
[ "$(date +%s)" -le "$np_latest" ] || np_refuse "the command came after its time"
np_tmp=$(mktemp -d) || np_refuse "the node has no room for temporary files"
trap 'rm -rf "$np_tmp"' EXIT
"""

# An address with a signature must not be in the arguments of a process.
_DNA = rf"""np_own=
np_id=${{AWS_SSM_INSTANCE_ID-}}
for np_file in {" ".join(_IDS)}; do
    [ "$np_id" ] || read -r np_id 2>/dev/null <"$np_file" || np_id=
done
if command -v curl >/dev/null; then
    printf 'url = "%s"\n' "$np_dnas" | curl -fsS --retry 3 -K - -o "$np_tmp/dnas"
else
    printf '%s\n' "$np_dnas" | wget -nv -t 3 -i - -O "$np_tmp/dnas"
fi 2>"$np_tmp/err" || np_refuse "the dna of one-offs could not be fetched: $(tail -n 1 "$np_tmp/err")"
if tar -xzf "$np_tmp/dnas" -O "$np_id.json" >"$np_tmp/dna" 2>/dev/null; then
    np_own=$(base64 <"$np_tmp/dna" | tr -d '\n')
fi
"""

_AFTER = rf"""np_node >"$np_tmp/out" 2>"$np_tmp/err"
np_code=$?
tail -c 1500 "$np_tmp/err"
np_bytes={OUTPUT_OF_FAILURE}
[ "$np_code" != 0 ] || np_bytes={OUTPUT_OF_SUCCESS}
tail -c "$np_bytes" "$np_tmp/out"
exit "$np_code"
"""
