"""What can end a command beside its success."""


class UserError(Exception):
    """A mistake in what the user asked for, told in one sentence.

    The sentence says what is wrong, where, and what would be right. The command line prints it
    without a traceback and exits with code 2.
    """


class DivergedError(UserError):
    """The loss is no finite number any more: going on from a checkpoint would end there again."""


class DiskError(UserError):
    """The disk is full, or it may not be written: no other stage could be written either."""


class BusyError(UserError):
    """Another process is at work on the same stage."""


class FailedStagesError(Exception):
    """Some stages of a run failed for reasons that nobody foresaw; the others came to their end."""


class Stopped(Exception):  # noqa: N818  it is no error
    """Ctrl-C has stopped the run and left a state that the same command goes on from."""
