"""What the command line tells in one line, instead of a trace, because whoever started it can mend it."""


class Complaint(Exception):
    """Ends a command; the text says what is wrong and what to do. Subclasses choose the exit status."""

    status = 1
