"""What the system tests share: real programs, exact peers, and readings of a live process."""
