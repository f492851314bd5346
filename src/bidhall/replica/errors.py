# SPDX-License-Identifier: Apache-2.0
"""What a replica can answer besides "done". Raised in this room, caught by the doors and the command line."""


class NotReady(Exception):
    """The replica has not caught up yet, is stopping, or has failed: nothing was taken."""


class Refused(Exception):
    """The replica does not start on this folder and log: they do not belong together, or something is missing."""


class Fault(Exception):
    """A promise can no longer be held. The replica stops; the process must end."""
