"""``holdfast demo``: the phenomenon and the defenses on the organism."""

from pathlib import Path

from rich.console import Console

from holdfast.commands.pipelines import run_pipelines
from holdfast.engine.run import Launch
from holdfast.report.comparison import compare, read_run
from holdfast.report.table import header, markdown_table
from holdfast.stages.disk import disk_errors, write_text
from holdfast.studies.demo import demo_pipelines


def run_demo(output: Path, seeds: int, workers: int | None, console: Console) -> None:
    """Run the demo: the phenomenon and the defenses, a table, a picture and results.json."""
    title = "Harmful fine-tuning, and the defenses against it, on the model organism"
    about = {"title": title, "command": f"holdfast demo --seeds {seeds}"}
    pipelines = list(demo_pipelines(seeds))
    run_pipelines(
        pipelines, output, Launch(workers=workers), console, "demo", about, command="demo"
    )
    from holdfast.report.drawing.tradeoff import tradeoff_picture

    run = read_run(output)
    comparison = compare(run)
    with disk_errors(output / "comparison.png"):
        picture = tradeoff_picture(comparison, header(run.protocol))
        picture.save(output / "comparison.png")
        write_text(output / "table.md", markdown_table(run, comparison))
    for line in (
        f"picture: {output / 'comparison.png'}",
        f"a page of it all: holdfast report {output} --format html",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
