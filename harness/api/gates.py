"""Gates of a suite: evaluated against the stored baseline, and the baseline they compare with."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.steps import (
    Session,
    prepare,
    render_again,
    renew_times,
    run_left,
    run_some,
    say,
    warn,
    with_unjudged,
)
from harness.errors import ExitCode, HarnessError

if TYPE_CHECKING:
    from harness.gates.baseline import StoredBaseline
    from harness.gates.report import GateReport, GateResult
    from harness.gates.targets import Target
    from harness.plan.plan import Plan
    from harness.suite.spec import Suite

Copies = Mapping[str, Path | None]


def evaluated(session: Session, made: Plan, given: Path | None, copies: Copies) -> GateReport:
    """Evaluate the gates and write every file, also where that breaks off.

    Args:
        session: whose gates.
        made: its plan; what is left of it is run.
        given: file of the baseline, or None for the usual one.
        copies: where "junit.xml" and "gate.md" are written, too, and "metrics.txt" alone.
    """
    from harness.gates.baseline import file_of, old_baseline, runs_before
    from harness.gates.evaluate import crashed, evaluate
    from harness.gates.targets import find_targets
    from harness.judging.judged import open_rounds
    from harness.results.gathering import gather_costs

    targets = find_targets(made)
    try:
        warn(session, made.planner.warnings)
        stored = _comparable(session, made, targets, given)
        files = _graded_files(session, made)
        if stored is not None and not files and any(each.is_sequential for each in targets):
            report = _sequential(session, made, targets, stored)
        else:
            run_left(session, made)
            renew_times(session, made, failed=[])
            before = {} if stored is None else runs_before(stored, made)
            rounds = open_rounds(made, files, before=before)
            report = evaluate(made, targets, stored, gather_costs(made), rounds=rounds)
        if stored is not None:
            age = old_baseline(stored.about, suite_file=file_of(made.suite))
            report = report.model_copy(update={"old_baseline": age})
    except Exception as error:
        _write(session, made, crashed(made, targets, error), copies)
        raise
    _write(session, made, report, copies)
    warn(session, [report.old_baseline] if report.old_baseline else [])
    return report


def _graded_files(session: Session, made: Plan) -> dict[str, Path]:
    """Return the files of grades that `harness judge` has begun, by collection."""
    from harness.output.files import grade_files

    return {n: file for n, file in grade_files(made, session.folder).items() if file.is_file()}


def _sequential(
    session: Session, made: Plan, targets: tuple[Target, ...], stored: StoredBaseline
) -> GateReport:
    """Ask the queries batch by batch until every sequential gate has its answer."""
    from harness.gates import sequential
    from harness.gates.exact import judge_cost
    from harness.gates.report import conclude
    from harness.results.gathering import gather_costs

    found: dict[Target, GateResult] = {}
    most = max(len(made.collections[each.collection].query_ids) for each in targets)
    for size in sequential.looks(most):
        left = [target for target in targets if target not in found]
        asked = sequential.asked_first(made, left, size / most)
        suite = made.suite.asking(asked, sequential.needed_for(made, left))
        costs = [target for target in left if not target.is_sequential]
        part = run_some(session, made, suite, timed=bool(costs))
        measured = gather_costs(part) if costs else None
        for target in left:
            if measured is not None and target in costs:
                found[target] = judge_cost(part, target, measured)
                continue
            family = sequential.family_of(target, targets)
            answer = sequential.look(made, part, target, stored, family=family)
            if answer is not None:
                found[target] = answer
        say(session, f"{size:,} of {most:,} queries: {len(found)} of {len(targets)} gates decided.")
        if len(found) == len(targets):
            break
    return conclude(
        [found[target] for target in targets],
        suite=made.suite.name,
        baseline=made.suite.baseline,
        warnings=made.planner.warnings,
    )


def _comparable(
    session: Session, made: Plan, targets: tuple[Target, ...], given: Path | None
) -> StoredBaseline | None:
    """Read the stored baseline if a gate needs it, and say what so many queries can show."""
    from harness.gates import baseline_path
    from harness.gates.baseline import check_comparable, file_of, read_baseline
    from harness.gates.planning import plan_gates

    if not any(target.is_relative for target in targets):
        return None
    path = baseline_path(made.suite.name, given)
    stored = read_baseline(path, suite_file=file_of(made.suite))
    refuse_other_suite(stored, path, made.suite)
    check_comparable(stored, path, made, targets)
    for each in plan_gates(made, targets, stored):
        session.console.print(each.sentence, highlight=False, markup=False)
    return stored


def refuse_other_suite(stored: StoredBaseline, path: Path, suite: Suite) -> None:
    """Raise if a baseline was stored by another suite file of the same name.

    Raises:
        HarnessError: exit code 2.
    """
    from harness.output.folder import other_suite

    other = other_suite(stored.about.file, path.parent.resolve(), suite)
    if other is not None:
        raise HarnessError(
            f"{path}: the baseline of another suite file with the name '{suite.name}', {other}. "
            "Rename one of the suites (name = …), or name another file with --baseline (in Python: "
            "baseline=…).",
            exit_code=ExitCode.USAGE,
        )


def margin_warnings(made: Plan) -> list[str]:
    """Return what the stored baseline says of the margins of a plan, where one lies as usual."""
    from harness.gates import baseline_path

    path = baseline_path(made.suite.name, None)
    if not made.suite.gates or not path.is_file():
        return []
    from harness.gates.baseline import file_of, read_baseline
    from harness.gates.planning import plan_gates, warnings_of
    from harness.gates.targets import find_targets

    try:
        stored = read_baseline(path, suite_file=file_of(made.suite))
        refuse_other_suite(stored, path, made.suite)
        return warnings_of(plan_gates(made, find_targets(made), stored))
    except HarnessError as error:
        return list(error.problems)  # a plan runs nothing, so that it refuses nothing either


def _write(session: Session, made: Plan, report: GateReport, copies: Copies) -> None:
    from harness.gates.ci import append_summary, junit_xml, openmetrics, workflow_commands
    from harness.output.files import add_output, add_verdict
    from reports import gate_view

    texts = {
        "gate.json": report.model_dump_json(indent=1),
        "junit.xml": junit_xml(report),
        "gate.md": gate_view.markdown(report),
    }
    add_verdict(made, session.folder, "gate", texts)
    texts["metrics.txt"] = openmetrics(report)
    for name, path in copies.items():
        if path is not None:
            add_output(path, texts[name])
    render_again(session)
    if os.environ.get("GITHUB_STEP_SUMMARY"):
        append_summary(Path(os.environ["GITHUB_STEP_SUMMARY"]), texts["gate.md"])
    if os.environ.get("GITHUB_ACTIONS"):
        for command in workflow_commands(report):
            sys.stderr.write(f"{command}\n")  # GitHub reads both streams; this one holds no JSON


def store_baseline(session: Session, given: Path | None, *, replaces: bool) -> StoredBaseline:
    """Run what is left and store the scores of the baseline candidate.

    Args:
        session: with the candidate.
        given: file, or None for the usual one.
        replaces: take the place of the one that is stored, which becomes its history.
    """
    from harness.gates import baseline_path
    from harness.gates.baseline import (
        accepted,
        file_of,
        make_baseline,
        read_baseline,
        refuse_to_replace,
        write_baseline,
    )
    from harness.gates.planning import plan_gates, warnings_of
    from harness.gates.targets import find_targets
    from harness.output.folder import suite_file
    from reports import gate_view

    made = prepare(with_unjudged(session))
    targets = find_targets(made) if made.suite.gates else ()
    path = baseline_path(made.suite.name, given)
    old = read_baseline(path, suite_file=file_of(made.suite)) if replaces else None
    if old is not None:
        refuse_other_suite(old, path, made.suite)
    else:
        refuse_to_replace(path, suite_file=file_of(made.suite))
    run_left(session, made)
    new = make_baseline(made, file=suite_file(path.parent, made.suite))
    new = accepted(new, old) if old else new
    write_baseline(path, new)
    session.console.print(gate_view.baseline(new), highlight=False)
    warn(session, [*made.planner.warnings, *warnings_of(plan_gates(made, targets, new))])
    say(session, f"\nBaseline: {path}")
    return new
