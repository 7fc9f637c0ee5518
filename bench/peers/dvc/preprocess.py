"""Make arrays of the raw data."""

import digits
import numpy as np

x_train, y_train, x_test, y_test = digits.preprocess(*digits.read("data/raw"))
np.savez("build/arrays.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
