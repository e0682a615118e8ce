"""Human action recognition by transfer learning and optical flow."""

from importlib.metadata import version

__version__ = version("actionrec")
