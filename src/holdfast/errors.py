"""The errors that a user's input can cause."""


class UserError(Exception):
    """A mistake in what the user asked for, told in one sentence.

    The sentence says what is wrong, where, and what would be right. The command line prints it
    without a traceback and exits with code 2.
    """
