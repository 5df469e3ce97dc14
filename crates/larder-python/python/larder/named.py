"""Functions that are copied and pickled like those of Python."""


class Named:
    """A function for `copy` and `pickle`, which find it again by its name."""

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return self.__qualname__
