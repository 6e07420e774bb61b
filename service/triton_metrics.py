"""The names under which Triton tells the same counts, so that dashboards made for it show this service too.

They are worked out from what is counted anyway, when somebody asks.

Source: the metrics page of NVIDIA's Triton Inference Server, user guide.
"""

from collections.abc import Mapping

_ANSWERED = "answered"


def triton_series(totals: Mapping[str, float]) -> dict[str, float]:
    """Return the series under Triton's names.

    Args:
        totals: Series → value, as the workers counted.

    Example:
        >>> triton_series({'nalu_rows_total{model="add",version="1"}': 5.0})
        {'nv_inference_count{model="add",version="1"}': 5.0}
    """
    found: dict[str, float] = {}
    for series, value in totals.items():
        name, _, labels = series.partition("{")
        model, _, rest = labels.rpartition(',outcome="')
        outcome = rest.partition('"')[0]
        if name == "nalu_rows_total":
            _add(found, "nv_inference_count", labels.removesuffix("}"), value)
        elif name == "nalu_predictions_total" and outcome == _ANSWERED:
            _add(found, "nv_inference_request_success", model, value)
        elif name == "nalu_predictions_total":
            reason = "BACKEND" if outcome == "error" else "OTHER"
            _add(found, "nv_inference_request_failure", f'{model},reason="{reason}"', value)
        elif name == "nalu_prediction_duration_seconds_bucket" and outcome == _ANSWERED:
            _add(found, "nv_inference_exec_count", model, value)
        elif name == "nalu_prediction_duration_seconds_sum" and outcome == _ANSWERED:
            _add(found, "nv_inference_compute_infer_duration_us", model, 1e6 * value)
    return found


def _add(found: dict[str, float], name: str, labels: str, value: float) -> None:
    series = f"{name}{{{labels}}}"
    found[series] = found.get(series, 0.0) + value
