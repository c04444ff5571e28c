"""Run the commands of pages, one after the other, in one process: `python run_pages.py PLAN OUT`.

PLAN is JSON: by page the folder to work in and its blocks, [language, text] each. A block of bash
holds commands of `holdfast`, run in this process, and others, run by bash; one of YAML is written
into the file that its first line names; one of Python is executed. OUT gets [command, exit code,
what it wrote] of every command, by page.
"""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from chat_server import completion, serving, verdict

from command import holdfast

ENDPOINT = "http://localhost:8000/v1"


def commands(block: str) -> list[str]:
    """The commands of a block: a line each, or all lines up to the end of a here-document."""
    found, end = [], None
    for line in block.splitlines():
        if end is not None:
            found[-1] += f"\n{line}"
            end = None if line == end else end
        elif line.strip():
            found.append(line)
            end = line.split("<<'")[1].rstrip("'") if "<<'" in line else None
    return found


def run(command: str, more: list[str]) -> tuple[int, str]:
    """Run a command, with words of the test's own at its end; gives exit code and output."""
    words = shlex.split(command)
    if words[0] == "holdfast":
        code, out, err = holdfast(*words[1:], *more)
        return code, out + err
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def run_page(page: dict, url: str) -> list[tuple[str, int, str]]:
    """Run all blocks of a page, up to the first command that fails."""
    os.chdir(page["folder"])
    ended = []
    for language, text in page["blocks"]:
        if language == "yaml":
            name = text.splitlines()[0].removeprefix("#").strip()
            Path(name).write_text(text.replace(ENDPOINT, url))
        elif language == "python":
            with contextlib.redirect_stdout(sys.stderr):
                job: dict = {"__name__": "snippet"}
                exec(compile(page["job"] + text, "the page's snippet", "exec"), job)
            ended.append((text, 0, ""))
        else:
            for command in commands(text):
                more = next((m for start, m in page["more"] if command.startswith(start)), [])
                ended.append((command, *run(command, more)))
                if ended[-1][1] != 0:
                    return ended
    return ended


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text())
    with serving(lambda request, n: completion(verdict(request, harmful=n % 2 == 0))) as served:
        found = {name: run_page(page, served.url) for name, page in plan.items()}
    Path(sys.argv[2]).write_text(json.dumps(found))
