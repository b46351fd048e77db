"""Settings of the whole suite; fixtures come from `wharfd.testing`."""

from hypothesis import settings

# The same examples in every run, and no deadline: a busy machine is no defect of what is tested.
settings.register_profile("wharfd", deadline=None, derandomize=True)
settings.load_profile("wharfd")
