"""The user's command line: one file a command, each `add(subparsers)` and a function that returns an exit code."""
