"""Prediction of actions in videos and images, with the code and the settings that the checkpoint was trained with."""
