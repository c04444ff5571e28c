"""What can end a command beside its success."""


class UserError(Exception):
    """A mistake in what the user asked for, told in one sentence.

    The sentence says what is wrong, where, and what would be right. The command line prints it
    without a traceback and exits with code 2.
    """


class Stopped(Exception):  # noqa: N818  it is no error
    """Ctrl-C has stopped the run and left a state that the same command goes on from."""
