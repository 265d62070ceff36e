"""What is read off scores: operating points and curves with their intervals, accuracy over folds, thresholds, the
comparison of two models, and an alarm for degenerate ones. Scores come in; numbers with intervals go out.
"""
