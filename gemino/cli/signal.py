"""`gemino signal`: run the rendezvous server, or mint a room token."""

import typer

# The server has its own command line, the same as `python -m signaling`: it must run without us.
PASSED_ON = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
    "ignore_unknown_options": True,
}


def signal(context: typer.Context) -> None:
    """Run the signalling server at which two peers meet; it has a --help of its own."""
    from signaling.command import main

    raise typer.Exit(main(context.args, "gemino signal"))
