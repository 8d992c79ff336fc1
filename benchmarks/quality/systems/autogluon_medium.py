# /// script
# requires-python = ">=3.10,<3.13"
# dependencies = ["autogluon.tabular[lightgbm,catboost,xgboost,fastai]>=1.4", "pandas", "pyarrow"]
# ///
"""AutoGluon with the preset medium_quality."""

import tempfile

from autogluon.tabular import TabularPredictor
from job import Job, time_parts

METRICS = {"log_loss": "log_loss", "rmse": "root_mean_squared_error"}


def main() -> None:
    """Fit, predict, hand over."""
    job = Job.given()
    train, test = (
        time_parts(rows).astype(dict.fromkeys(job.categorical, "category"))
        for rows in (job.train(), job.test())
    )
    with tempfile.TemporaryDirectory() as folder:
        with job.timed("fit"):
            predictor = TabularPredictor(
                job.target,
                problem_type=job.problem,
                eval_metric=METRICS[job.metric],
                path=folder,
                verbosity=1,
            ).fit(
                train,
                presets="medium_quality",
                time_limit=job.budget,
                num_cpus=job.threads,
                num_gpus=0,
            )
        with job.timed("predict"):
            if job.is_regression:
                answer = predictor.predict(test)
            else:
                answer = predictor.predict_proba(test).reindex(columns=job.classes, fill_value=0)
        models = predictor.model_names()
        job.answer(answer.to_numpy(), models=models)


if __name__ == "__main__":
    main()
