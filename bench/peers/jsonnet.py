"""The roles by Jsonnet: roles.jsonnet merges and writes JSON, this puts each where it belongs."""

import json
import sys
from pathlib import Path

import rjsonnet

for name, text in json.loads(
    rjsonnet.evaluate_file(sys.argv[1], ext_vars={"nodes": Path("nodes.json").read_text("utf-8")})
).items():
    Path("roles", f"{name}.json").write_text(text + "\n", "utf-8")
