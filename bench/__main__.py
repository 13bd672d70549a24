"""The command line, `peakbench`: each command is a file in `bench/commands/`; torch comes in only where needed."""

import os
import sys
from typing import Annotated

import typer

from bench import __version__
from bench.commands import check, compare, fit, listings, report, run, simulate, split, validate
from bench.commands.options import PluginFiles

app = typer.Typer(
    name="peakbench",
    help="What training a deep network really costs: peak memory, step time and inference of every training method.",
    epilog="Start with: peakbench run smoke --out runs/smoke, then: peakbench report overhead --run runs/smoke",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",  # rich's own would take the [contrast] of a spec for a style
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("methods")(listings.list_methods)
app.command("networks")(listings.list_networks)
app.command("suites")(listings.list_all_suites)
app.command("simulate")(simulate.simulate)
app.command("split")(split.split)
app.command("fit")(fit.fit)
app.command("run")(run.run)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("validate")(validate.validate)
app.command("check")(check.check)
baseline = typer.Typer(help="The baselines that `peakbench check` compares with.", no_args_is_help=True)
baseline.command("update")(check.update)
app.add_typer(baseline, name="baseline")


@baseline.callback()
def _baseline() -> None:
    """Keeps `update` a command of its own, as long as it is the only one."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"peakbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    _plugin: PluginFiles = None,
) -> None:
    pass


def main() -> None:
    """Entry point: a user's mistake becomes a message and exit code 2, never a traceback."""
    _open_standard_streams()
    try:
        app()
    except Exception as error:
        if not isinstance(error, _user_errors()):
            raise
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(2)


def _open_standard_streams() -> None:
    """Have 0, 1 and 2 open, which who starts a service may have closed: else they would name files of ours."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004 - the error stream
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - as these are
    os.close(descriptor)


def _user_errors() -> tuple[type[Exception], ...]:
    """Errors whose message tells the user what to change. Imported late: most need a library of their own."""
    from bench.cases import CaseError  # noqa: PLC0415
    from bench.check import CheckError  # noqa: PLC0415
    from bench.devices import DeviceError  # noqa: PLC0415
    from bench.ground_truth import GroundTruthError  # noqa: PLC0415
    from bench.simulator.allocator import AllocatorSettingError  # noqa: PLC0415
    from bench.simulator.profiles import UnknownProfileError  # noqa: PLC0415
    from bench.simulator.workspaces import UnknownSourceError, WorkspaceTableError  # noqa: PLC0415
    from bench.suites import SuiteError  # noqa: PLC0415
    from bench.validate import ValidationError  # noqa: PLC0415
    from bench.workloads.networks import UnknownNetworkError  # noqa: PLC0415
    from methods.datasets import UnknownDatasetError  # noqa: PLC0415
    from methods.plugins import PluginError  # noqa: PLC0415
    from methods.spec import SpecError  # noqa: PLC0415
    from partition import SplitError  # noqa: PLC0415
    from reports.figures import FigureError  # noqa: PLC0415
    from reports.tables import ReportError  # noqa: PLC0415
    from results.baseline import BaselineError  # noqa: PLC0415
    from results.store import StoreError  # noqa: PLC0415

    names = (
        UnknownProfileError,
        UnknownSourceError,
        WorkspaceTableError,
        UnknownNetworkError,
        UnknownDatasetError,
        SpecError,
        PluginError,
        SplitError,
    )
    return (
        *names,
        BaselineError,
        CaseError,
        CheckError,
        GroundTruthError,
        SuiteError,
        DeviceError,
        ValidationError,
        ReportError,
        FigureError,
        StoreError,
        AllocatorSettingError,
    )


if __name__ == "__main__":
    main()
