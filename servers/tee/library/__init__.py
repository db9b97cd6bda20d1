"""The function library: each file is the text of a program that runs in the sandbox, with nothing of ours to import."""
