"""nodepkg: one nodes.json, and everything that a fleet on EC2 derives from it."""

__version__ = "0.1.0"
