"""Optical flow: the speed and memory of extraction, the estimators, the store's format, and recognition accuracy."""
