"""`python -m actionrec <verb>`, the same as `actionrec <verb>`."""

from actionrec.commands import main

main()
