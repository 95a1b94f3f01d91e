"""Mixed precision by accuracy budget: the fastest scheme that keeps the accuracy, found on training text.

In: a recipe, its calibration table, and rows of the calibration text that did not calibrate. Out: the scheme, with
every trial that led to it. The validation data is not read here: it judges the one scheme that comes out.
"""
