"""Auto Scaling and load balancing that take their time, as AWS's do; moto's are done at once.

`Realistic` is put around moto's application: it answers for Auto Scaling and for target health itself, and lets every
other call through to moto, whose EC2 has the nodes. `clocks` says what time it is there.
"""

from nodepkg.sandbox.realistic.clocks import Clock, RealClock, VirtualClock
from nodepkg.sandbox.realistic.layer import Realistic
from nodepkg.sandbox.realistic.settings import AT_ONCE, Realism
from nodepkg.sandbox.realistic.world import World

__all__ = ["AT_ONCE", "Clock", "RealClock", "Realism", "Realistic", "VirtualClock", "World"]
