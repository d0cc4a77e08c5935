"""A table for each notebook: RIGHT and WRONG list answers by checker, WRONG with a name for each.

The modules are called as those with the checkers in modelscale.course.
"""
