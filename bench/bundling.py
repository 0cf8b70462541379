"""Makes the archive of a group's bundle as a deploy does, and prints the seconds that it took.

Usage: bundling.py PROJECT GROUP
"""

import gc
import sys
import time
from pathlib import Path

from nodepkg.nodes.load import load
from nodepkg.render.archive import BUNDLES, archive
from nodepkg.render.bundle import Project, bundle


def main() -> None:
    gc.set_threshold(1_000_000)  # as the command does
    nodes = load(Path(sys.argv[1], "nodes.json"))
    group = nodes.group(sys.argv[2])
    begin = time.perf_counter()
    project = Project(nodes)
    archive(project, bundle(project, group), nodes.root / BUNDLES)
    print(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
