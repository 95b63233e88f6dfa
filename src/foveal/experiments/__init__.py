"""What is made of several trainings: folds and fractions of the data, recipes side by side.

An experiment is a list of ordinary runs in folders of their own below its folder. What a training
or a prediction is, it does not know: it asks a `Detector`.
"""
