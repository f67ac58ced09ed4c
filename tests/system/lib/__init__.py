"""What the system tests share: real programs, exact peers, and readings of a live process."""

import os
import sys

# What they share with other tests.
sys.path.append(os.path.realpath(os.path.join(os.path.dirname(__file__), "..", "..")))
