"""The base of every error that a user can cause and mend."""


class UserError(Exception):
    """What a user can cause and mend: a command prints the message, and no traceback.

    The message says what is wrong, where, and what to do. Errors of other kinds are
    mistakes in the program, except for the `OSError` of a file.

    Attributes:
        status: The exit status of a command that the error ends: 2 if its flags are
            wrong (each line of the message is then one fault), else 1.
    """

    status: int = 1
