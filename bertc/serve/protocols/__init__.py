"""The protocols that clients speak, one file each: routes, the shapes of bodies and answers, and the form of errors.

What two protocols share lies in a file whose name begins with an underscore.
"""
