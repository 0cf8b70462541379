"""What nodes fetch from the user's bucket: a group's bundle, and the dna of its one-offs."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from nodepkg.clients.aws.account import Account
from nodepkg.clients.aws.s3 import LONGEST_URL_SECONDS, Bucket, bucket
from nodepkg.clients.supervised import HOME
from nodepkg.errors import ConfigError
from nodepkg.fleet.ssm_script import Sent, dna_archive
from nodepkg.fleet.transport import Job, Parcel

_KEY = "nodepkg"


class Bundles:
    """`buckets`: group -> its bucket. Each archive is put there once, under a name that says what is in it."""

    def __init__(self, account: Account, buckets: Mapping[str, str], *, home: str = HOME) -> None:
        self._account, self._names, self._home = account, buckets, home
        self._buckets: dict[str, Bucket] = {}
        self._there: set[str] = set()

    def put(self, parcel: Parcel) -> None:
        """Sees to it that the bundle is there. Raises ConfigError without a bucket, AwsError."""
        if parcel.group not in self._buckets:
            name = self._names.get(parcel.group)
            if not name:
                raise ConfigError(f"{parcel.group}: deploy.transport is ssm, and there is no deploy.bucket")
            self._buckets[parcel.group] = bucket(self._account, parcel.region, name)
        self._put(parcel.group, _bundle(parcel), parcel.archive.read_bytes)

    def sent(self, parcel: Parcel, jobs: Sequence[Job], token: str, seconds: float) -> Sent:
        """What the script of these jobs needs; its addresses are good for so many seconds, 12 hours at most."""
        there, dnas = self._buckets[parcel.group], {job.host.instance: job.dna for job in jobs if job.dna is not None}
        archive = dna_archive(dnas) if dnas else b""
        key = f"{_KEY}/dna/{parcel.group}/{sha256(archive).hexdigest()}.tar.gz"
        if dnas:
            self._put(parcel.group, key, lambda: archive)
        return Sent(
            token=token,
            url=there.url(_bundle(parcel), seconds),
            dnas=there.url(key, seconds) if dnas else "",
            latest=self._account.now() + min(seconds, LONGEST_URL_SECONDS),
            home=self._home,
        )

    def _put(self, group: str, key: str, read: Callable[[], bytes]) -> None:
        if key not in self._there:
            self._buckets[group].put(key, read())
            self._there.add(key)


def _bundle(parcel: Parcel) -> str:
    return f"{_KEY}/bundles/{parcel.group}/{parcel.digest}.tar.gz"
