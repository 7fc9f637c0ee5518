"""The stages of the pipeline and what they share; each runs under DVC, Prefect, a test or a notebook alike."""


class SlipwayError(Exception):
    """A mistake that the user can mend; its message says what is wrong, where, and what to do."""
