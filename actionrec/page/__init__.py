"""A local page on which videos are predicted in a browser; `actionrec app`."""
