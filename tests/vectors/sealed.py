"""HPKE encryption is randomised, so the one ciphertext among the vectors is kept here and not made anew."""

CIPHERTEXT = (
    "lg3CzjNzNddKiuby87QVr6HrsLR5d+XtbQWbd1FXUH54VS+4O7mKX7CLU961J0TIMTP5COi1v82Mdd0bn8TLuNySm1XFofLpIpNH+KnDZtc2LK"
    "3DLHbGK7oXzieyLmwSUx3Zp6reR6JhlUhZAtdCyo/U6GSLklxfSXuDsSh0LXpSuOeD+QKJv7hDhktOEutfgY37MQ7xmATHd2yDA+NGUBqkRkxD"
    "uxzvCi+oOlusJhuyRwETWYk4AA1th0BtYKInTwoXOfycGuhlNevffAVwnYCwp7pOGeHokGVHo6E8CBiEdfk/hsFEoxnw9jwmGE+GMcK0AOWB0+"
    "dGTzcju9p8f1sSGTAnCx4Djz/tbfMSPAQFqr/WtOUwtgxdPufqNazZ5psa5y8wieLAtFx129fCKWcw+CiaILI+21mu/IDxHwNxQg1iXa5IpeH2"
    "bZs/pZ9SlNAWXKXWKL5fRTEKPhgj7760HDVK4CsG+JS1apAMTJlJrgPpuoCiW0lfWco4Amr0tzyHeA/LU7Vl+ZP2a5GslWQ6rTB+BzIcfyOQja"
    "vEDi8VEv6BW3MRVD6CX/nUK/YO5BBb3uWTRPH0TB5GcDvzbnQePf+RXE5XZ8TclqgGwKyIUxokgcAoiSkCK4o/xzP106iIOxYrEXDzzapWwcTg"
    "omSjtX9viSFf8sdHuD9IMswmLt/K7RAqe09QL3YUWFEe78qzD1HvICn0wL8NngVlxDs7lyJb20r5D5xolmwHYt8Qy+w8zQgzZZ4DD5N5UpPN42"
    "2SD2d/XlB+v05Y6YJVdAomwUCj3YlgZxEYBnXr8Eld5rmfIzi4iE0Rq4UopqgkbHU2TY4kmrOHCVOIx7/oiAv2oyv42ZsobohWynufx3o8LKl4"
    "7y/DzcH4yCfD57D/USBnJkyyJftjQZ3WYzENvr278D0v4w7pz3eB3fk5JZ2wo+RqJMaa35tnnlyLwRpkiRjtHEAMEOaJeUb9gaeWhMk0DQtKew"
    "Frq+EBwEOdhh2e9sL3lqLM26eEY7SB1xaX9JZvrvoxwIAEpsig/cQjDS9DQPVMlzNHcWT5+p8Bu0eG3O0JBbl03l1LfNJbGDvFRb9mJkFZhGQs"
    "QDUf2pMKA8Xjqpduc5O90Cl/hu32TeDSo/PmOYKmyZNfK8APCYeYANzysa7YdlUFk8WG26wozCTL01yqm+6Obd22s82054EXXfmVmDG1t53teI"
    "ynnTxQxEvECHz85Ck0qlwI6LGLwSXhP73K79mMtN8SjQWUZ/Ao9Ejm3In7EcY09BKOK0Hu9rvwyYjIoudPXtUpashru3zFE3aBn9bhaI0zc9uN"
    "Zu9WAh7JcG3l8We64iSXMy3UbsdiSwiJ0Go2XDg5P9e0/EYYsbVWwD5Sb7cKbGL9crLQtuGmAt9Cg0il4qsLO3yuctgDPe+npm5coeWGXWOggm"
    "Pi0psaaZy1HoJiwIx1rwJn57+C3QaPZ4tEdg6UzSnh0qxB9r3zuXAn4MCQ6+rDfqZ1KfRLrgH//8vyZSApOLf/yVWe0zfWi7SdFbqMaWyJaQfk"
    "+Jarfg=="
)
