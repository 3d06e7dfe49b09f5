"""Runs the commands of a page of the documentation, as they are written, and compares what they say with what it shows."""

import os
import re
import subprocess
from dataclasses import dataclass

BLOCK_SECONDS_MAX = 60
FENCE = re.compile(r"(?:<!-- exits (\d+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)


@dataclass
class Step:
    """A block of commands, how they exit, and what they say where the page shows it; `…` stands for anything."""

    commands: str
    status: int
    says: str | None


def sections(page):
    """The page's sections with commands in them: title and steps."""
    for section in page.split("\n## ")[1:]:
        title, body = section.split("\n", 1)
        if found := list(steps(body)):
            yield title, found


def steps(text):
    blocks = FENCE.findall(text)
    for (status, language, body), after in zip(blocks, blocks[1:] + [("", "", "")]):
        if language == "sh":
            yield Step(body, int(status or 0), after[2] if after[1] == "text" else None)


class Shell:
    """Somebody who types the blocks, one after another, in one folder. What they export stays exported."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.exported = folder / ".exported"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("HEADLAND_")} | environment
        self.exported.write_text("")

    def start(self, commands, **more):
        script = f"set -euo pipefail\n. {self.exported}\n{commands}\nexport -p > {self.exported}\n"
        return subprocess.Popen(["bash", "-c", script], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, **more)

    def do(self, step):
        process = self.start(step.commands, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        said = process.communicate(timeout=BLOCK_SECONDS_MAX)[0]
        assert process.returncode == step.status, f"{step.commands}ended with {process.returncode}, not {step.status}:\n{said}"
        if step.says is not None:
            # What comes before, such as progress, the page leaves out.
            pattern = "(?m:^)" + re.escape(step.says.strip()).replace("…", "(?s:.*?)") + r"\Z"
            assert re.search(pattern, said.strip()), f"{step.commands}said:\n{said}\nand not:\n{step.says}"
