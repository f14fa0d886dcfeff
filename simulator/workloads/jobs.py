"""Jobs and CronJobs: the pods that run at once. Used by expand."""

from collections.abc import Iterator, Mapping
from typing import Any

from simulator.cluster.api import Document
from simulator.workloads import fields
from simulator.workloads.fields import FieldPlace
from simulator.workloads.work import FieldTable, Work

_JOB = FieldTable(
    read=frozenset({"completionMode", "completions", "parallelism", "suspend", "template"}),
    harmless=frozenset(
        {
            "activeDeadlineSeconds", "backoffLimit", "backoffLimitPerIndex", "manualSelector", "maxFailedIndexes",
            "podFailurePolicy", "podReplacementPolicy", "selector", "successPolicy", "ttlSecondsAfterFinished",
        }
    ),
    left_out={"managedBy": "names another controller, which may make other pods"},
)  # fmt: skip
_CRON_JOB = FieldTable(
    read=frozenset({"jobTemplate", "suspend"}),
    harmless=frozenset(
        {"concurrencyPolicy", "failedJobsHistoryLimit", "schedule", "startingDeadlineSeconds",
         "successfulJobsHistoryLimit", "timeZone"}
    ),
)  # fmt: skip
_SUSPENDED = "is suspended: it has no pods now"
_FIRST_MINUTE = 29_000_000  # a CronJob's Job is named after the minute, since 1970, that it was due: a past one of 2025


def job(work: Work) -> Iterator[Document]:
    """The pods that a Job runs in parallel."""
    return _pods(work, work.name, work.spec, work.at / "spec", "batch/v1")


def cron_job(work: Work) -> Iterator[Document]:
    """The pods of its next Job."""
    at = work.at / "spec"
    work.check(_CRON_JOB, work.spec, at)
    template = fields.mapping(work.spec, "jobTemplate", at, required=True)
    spec = fields.mapping(template, "spec", at / "jobTemplate", required=True)
    if fields.flag(work.spec, "suspend", at):
        work.leave_out(at / "suspend", _SUSPENDED)
        return iter(())
    return _pods(work, f"{work.name}-{_FIRST_MINUTE}", spec, at / "jobTemplate" / "spec", "batch/v1")


def _pods(work: Work, name: str, spec: Mapping[str, Any], at: FieldPlace, api_version: str) -> Iterator[Document]:
    work.check(_JOB, spec, at)
    template = work.template(spec, at)
    owner = work.owner("Job", name, api_version)
    parallelism = work.count(spec, "parallelism", at)
    completions = work.count(spec, "completions", at, default=parallelism)
    indexed = spec.get("completionMode") == "Indexed"
    if fields.flag(spec, "suspend", at):
        work.leave_out(at / "suspend", _SUSPENDED)
        return
    for index in range(min(parallelism, completions)):
        labels = {"batch.kubernetes.io/controller-uid": owner.uid, "batch.kubernetes.io/job-name": owner.name}
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)} if indexed else {}
        suffixed = work.names.suffixed(f"{owner.name}-{index}" if indexed else owner.name)
        yield work.pod(template, at / "template", name=suffixed, labels=labels, annotations=annotations, owner=owner)
