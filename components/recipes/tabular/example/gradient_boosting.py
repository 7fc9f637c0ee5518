"""The classical model of a table."""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from components.recipes.tabular.example import dates

if TYPE_CHECKING:
    from components.recipes.tabular.example import Params


MAX_BOOSTED_CLASSES = 50  # boosting fits a tree per class and round: of a thousand classes it would take hours


def classical(params: "Params") -> Any:
    """Gradient boosting by histograms on the DataFrame of `columns`, gaps as they are; deterministic.

    Ke et al. (2017), LightGBM, as scikit-learn has it: categories are split as such, their 250 most frequent values. A
    number or date that is missing in all the training is 0 throughout: there is nothing to cut into bins. Of more than
    MAX_BOOSTED_CLASSES classes it is a logistic regression: gaps filled with the mean, categories one-hot.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

    names = [*params.categorical, *params.boolean]
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, max_categories=250
    )
    plain = make_pipeline(FunctionTransformer(_objects), codes)
    apart = make_column_transformer(
        (plain, names),
        ("passthrough", partial(_chosen, names=params.numeric, empty=False)),
        (FunctionTransformer(_frame_parts), partial(_chosen, names=params.dates, empty=False)),
        (FunctionTransformer(_zeros), partial(_chosen, names=[*params.numeric, *params.dates], empty=True)),
    )
    coded = list(range(len(names)))
    settings: dict[str, Any] = {"categorical_features": coded, "early_stopping": False, "random_state": 0}
    if len(params.labels) > MAX_BOOSTED_CLASSES:
        return make_pipeline(apart, *_linear(coded))
    if not params.targets:
        return make_pipeline(apart, HistGradientBoostingClassifier(**settings))
    model = HistGradientBoostingRegressor(**settings)
    return make_pipeline(apart, MultiOutputRegressor(model) if len(params.targets) > 1 else model)


def _linear(coded: list[int]) -> list[Any]:
    """Return the steps of a logistic regression on what the columns became: codes, then numbers; NaN is missing."""
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    parts = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), coded), remainder=numbers, sparse_threshold=0
    )
    return [parts, LogisticRegression(max_iter=50)]


def _objects(frame: Any) -> Any:
    """Categories and booleans of a DataFrame as text, None where missing."""
    return frame.astype("object").where(frame.notna(), None).map(lambda value: value if value is None else str(value))


def _chosen(frame: Any, names: list[str], *, empty: bool) -> list[str]:
    """Those of the columns that have no value in the frame (empty), or those that have one."""
    return [name for name in names if frame[name].isna().all() == empty]


def _zeros(frame: Any) -> np.ndarray:
    return np.zeros(frame.shape)


def _frame_parts(frame: Any) -> np.ndarray:
    """Dates of a DataFrame as numbers, as in `encode`: `(n, dates * parts)` float64."""
    parts = [
        list(dates.parts(pa.chunked_array([pa.array(frame[name], dates.DATE)])).values()) for name in frame.columns
    ]
    return np.stack([values for listed in parts for values in listed], axis=1) if parts else np.empty((len(frame), 0))
