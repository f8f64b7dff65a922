"""Check that a study can be trained on folds."""

from collections.abc import Sequence

from jaxcifar.errors import UsageError
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_row import StudyRow


def require_no_fold_setting(study: Study, rows: Sequence[StudyRow]) -> None:
    """Check that no row has the setting `fold`, because `--folds` trains each row on all folds.

    Raises:
      UsageError: a row has a fold.
    """
    for row in rows:
        fold = row.changes.get("fold", study.config.get("fold"))
        if fold:
            raise UsageError(
                f"--folds: row {row.name} has fold {fold} already; leave out --folds, or the "
                "setting fold"
            )
